"""The two containers of ``torch.save``: a pickle that points to runs of numbers outside it.

    zip      prefix/data.pkl, prefix/data/KEY, prefix/byteorder
    legacy   pickles of a magic number, a version, facts of the machine, the content, the keys; then the runs in turn

Numbers are read only for the tensors that are asked for.
"""

from __future__ import annotations

import math
import mmap
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dcd_deploy.models.pickled_values import Foreign, Storage, StoredTensor
from dcd_deploy.models.pickles import read_pickle, read_with_storages

MAGIC = 0x1950A86A20F9469CFC6C  # how legacy files of torch.save begin
ZIP = b"PK"
PICKLE = "data.pkl"
SCRIPT = "constants.pkl"  # TorchScript's own
LITTLE = b"little"
MOST_EXPANDED = 1 << 24  # numbers that a file's expanded tensors may have, all together
COUNT_BYTES = 8  # before each run of a legacy file stands how many numbers it has

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
    "QInt8Storage": torch.qint8,
    "QUInt8Storage": torch.quint8,
    "QInt32Storage": torch.qint32,
    "UntypedStorage": torch.uint8,
}
# torch computes nothing in them, and each of their numbers is one of float32
FLOAT8 = frozenset(
    (torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz, torch.float8_e8m0fnu)
)
PLAIN = FLOAT8 | frozenset(
    (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64),
    )
)  # the others are complex, quantised, or several numbers in a byte
# what torch calls when it rebuilds a tensor that is no plain array of real numbers
NOT_PLAIN = {
    "torch._utils._rebuild_qtensor": "quantised",
    "torch._utils._rebuild_sparse_tensor": "sparse",
    "torch._utils._rebuild_nested_tensor": "nested",
    "torch._utils._rebuild_meta_tensor_no_storage": "meta (without numbers)",
    "torch._utils._rebuild_wrapper_subclass": "wrapped",
    "torch._utils._rebuild_device_tensor_from_numpy": "device",
}

Run = Callable[[Storage, int], bytearray]  # a storage and the bytes of one of its numbers → its numbers


class DamagedError(ValueError):
    """A file that is cut off, altered, or of another program; the message says where."""


class ExpandedError(ValueError):
    """A tensor whose few numbers in the file stand for far more."""


class ScriptError(ValueError):
    """A TorchScript program."""


@dataclass(frozen=True)
class TorchFile:
    """The content of a file of ``torch.save``: plain values, placeholders and tensors that are not read yet."""

    content: Any
    run: Run


@contextmanager
def torch_file(path: Path) -> Iterator[TorchFile]:
    """Open a file that ``torch.save`` wrote, as either container; ``tensor`` reads from it while it is open.

    Raises:
        DamagedError, PickleError, ScriptError: it is none, or is damaged.
    """
    with path.open("rb") as file:
        start = file.read(len(ZIP))
    opened = _zip_file(path) if start == ZIP else _legacy_file(path)
    with opened as found:
        yield found


def tensor(stored: StoredTensor, run: Run) -> Tensor:
    """Read a tensor's numbers.

    Raises:
        DamagedError: it claims more than its storage holds, or sizes that no tensor has.
        ExpandedError: it is expanded to more than ``MOST_EXPANDED`` numbers.
    """
    try:
        return _tensor(stored, run)
    except (RuntimeError, OverflowError) as error:
        raise DamagedError(f"claims shape {stored.shape}, which no tensor has") from error


def _tensor(stored: StoredTensor, run: Run) -> Tensor:
    dtype = dtype_of(stored)
    if dtype is None:
        raise DamagedError(f"numbers of type {stored.dtype or stored.storage.kind}")
    elements = math.prod(stored.shape)
    if elements == 0:
        return torch.empty(stored.shape, dtype=dtype)
    content = run(stored.storage, element_bytes(stored))
    held = len(content) // dtype.itemsize
    if stored.offset + _span(stored) > held:
        raise DamagedError(f"claims shape {stored.shape}, but the file holds less than that")
    if expanded(stored) > MOST_EXPANDED:
        raise ExpandedError(f"claims shape {stored.shape}, expanded from at most {held} numbers in the file")
    return torch.frombuffer(content, dtype=dtype, count=held).as_strided(stored.shape, stored.stride, stored.offset)


def expanded(stored: StoredTensor) -> int:
    """Return how many numbers a tensor has whose strides let several of them be one in the file; 0 of any other."""
    elements = math.prod(stored.shape)
    return elements if elements > _span(stored) else 0


def _span(stored: StoredTensor) -> int:
    """Return from its first number to behind its last how many there are in the file."""
    return 1 + sum((size - 1) * step for size, step in zip(stored.shape, stored.stride, strict=True))


def dtype_of(stored: StoredTensor) -> torch.dtype | None:
    """Return the type of a tensor's numbers, or None where it is none of ours."""
    if stored.dtype is not None:
        found = getattr(torch, stored.dtype.removeprefix("torch."), None)
        return found if isinstance(found, torch.dtype) else None
    return _storage_dtype(stored.storage)


def element_bytes(stored: StoredTensor) -> int:
    """Return the bytes of one number of the tensor's storage."""
    dtype = _storage_dtype(stored.storage)
    return dtype.itemsize if dtype is not None else 1


def not_plain(value: object) -> str | None:
    """Return of which kind a tensor is that cannot be taken as an array of real numbers; None if it can."""
    if isinstance(value, Foreign):
        return NOT_PLAIN.get(value.name)
    if isinstance(value, StoredTensor) and dtype_of(value) not in PLAIN:
        return (value.dtype or value.storage.kind).removeprefix("torch.")
    return None


def _storage_dtype(storage: Storage) -> torch.dtype | None:
    package, _, name = storage.kind.rpartition(".")
    return STORAGES.get(name) if package.partition(".")[0] == "torch" else None


@contextmanager
def _zip_file(path: Path) -> Iterator[TorchFile]:
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # a damaged directory fails in many ways
        raise DamagedError("") from error
    with archive:
        names = archive.namelist()
        prefix = next((n.removesuffix(PICKLE) for n in names if n.rpartition("/")[2] == PICKLE), None)
        if prefix is None:
            raise DamagedError(f"no '{PICKLE}' inside, which torch.save writes")
        if f"{prefix}{SCRIPT}" in archive.NameToInfo:
            raise ScriptError
        if f"{prefix}byteorder" in archive.NameToInfo and _entry(archive, f"{prefix}byteorder") != LITTLE:
            raise DamagedError("numbers of a big-endian machine")
        content = read_pickle(BytesIO(_entry(archive, f"{prefix}{PICKLE}")))
        yield TorchFile(content, _zip_runs(archive, prefix, path.stat().st_size))


def _zip_runs(archive: zipfile.ZipFile, prefix: str, most: int) -> Run:
    """Return the reader of an archive's runs; all together they cannot be larger than the file."""
    read: dict[str, bytearray] = {}
    left = most

    def run(storage: Storage, size: int) -> bytearray:
        nonlocal left
        if storage.key not in read:
            read[storage.key] = bytearray(_entry(archive, f"{prefix}data/{storage.key}"))
            left -= len(read[storage.key])
            if left < 0:
                raise DamagedError("entries that overlap")
        return _part(read[storage.key], storage, size)

    return run


def _entry(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return an entry's bytes; torch.save packs none, and what is packed may unfold to any size."""
    info = archive.NameToInfo.get(name)
    if info is None:
        raise DamagedError(f"no '{name[:100]}' inside")
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise DamagedError("compressed entries; torch.save writes none")
    try:
        return archive.read(info)
    except Exception as error:
        raise DamagedError(f"'{name[:100]}' cannot be read") from error


@contextmanager
def _legacy_file(path: Path) -> Iterator[TorchFile]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        first = read_pickle(mapped)
        if first != MAGIC:
            yield TorchFile(first, _no_runs)
            return
        _, machine = read_pickle(mapped), read_pickle(mapped)
        content, storages = read_with_storages(mapped)
        if isinstance(machine, dict) and machine.get("little_endian") is False:
            raise DamagedError("numbers of a big-endian machine")
        yield TorchFile(content, _legacy_runs(mapped, storages))


def _no_runs(storage: Storage, size: int) -> bytearray:
    raise DamagedError(f"no run '{storage.key[:100]}' of {size}-byte numbers")


def _legacy_runs(mapped: mmap.mmap, storages: dict[str, Storage]) -> Run:
    """Return the reader of the runs that follow the pickles, in the order of their keys."""
    keys = read_pickle(mapped)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise DamagedError("no list of what follows the pickle")
    places: dict[str, tuple[int, int]] = {}
    place = mapped.tell()
    for key in keys:
        dtype = _storage_dtype(storages[key]) if key in storages else None
        if dtype is None:
            raise DamagedError("numbers of an unknown type")
        size = int.from_bytes(mapped[place : place + COUNT_BYTES], "little") * dtype.itemsize
        if place + COUNT_BYTES + size > len(mapped):
            raise DamagedError("numbers are missing at its end")
        places[key] = (place + COUNT_BYTES, size)
        place += COUNT_BYTES + size

    def run(storage: Storage, size: int) -> bytearray:
        start, length = places.get(storage.key, (0, 0))
        return _part(bytearray(mapped[start : start + length]), storage, size)

    return run


def _part(content: bytearray, storage: Storage, size: int) -> bytearray:
    if not storage.start and storage.numel * size >= len(content):
        return content
    return content[storage.start * size : (storage.start + storage.numel) * size]
