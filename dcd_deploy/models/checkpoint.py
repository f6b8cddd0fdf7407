"""Reading a checkpoint file: weights only, whatever wraps them and whatever lies beside them.

    file → its content, tensors not yet read → the mapping of tensors inside → keys without wrappers → tensors

Nothing is executed (``pickles``): what is no weight stays an inert placeholder. Where the weights themselves are such
an object, a whole pickled network, the file is refused by its name.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dcd_deploy.errors import CheckpointError, OptionError, shown
from dcd_deploy.files import existing_file, sha256
from dcd_deploy.models.pickles import Foreign, PickleError, StoredTensor
from dcd_deploy.models.safetensors_files import EXPECTED, INDEX_SUFFIX, in_folder, read_file, read_shards, shards_size
from dcd_deploy.models.torch_files import DamagedError, Run, ScriptError, TorchFile, not_plain, tensor, torch_file

STATE_KEYS = ("state_dict", "model", "model_state_dict", "net", "network", "weights")
EMA_KEYS = ("state_dict_ema", "ema_state_dict", "model_ema", "ema_model", "ema", "model_ema_state_dict")
DATA_PARALLEL, COMPILED = "module.", "_orig_mod."  # what DataParallel and torch.compile put before keys
COUNTERS = ("n_averaged",)  # torch.optim.swa_utils.AveragedModel's own
LONGEST_KEY = 400
SHOWN = 12

SIGNATURES = {
    b"version https://git-lfs": "a Git LFS pointer; fetch the real file with 'git lfs pull'",
    b"<!DOCTYPE html": "an HTML page; download the file itself",
    b"<html": "an HTML page; download the file itself",
    b"\x08": "probably an ONNX model; give the PyTorch checkpoint that it came from",
}
# numpy's number types as its pickles write them → how ``struct`` reads one
SCALARS = {"f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i", "i2": "h", "i1": "b", "b1": "?"} | {
    "u8": "Q", "u4": "I", "u2": "H", "u1": "B",
}  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a file: key → tensor, and what else the file said about them.

    ``state_dict`` has the keys of the network as it was trained. ``notes`` says in plain sentences what was done to
    them, such as a prefix that was taken away; ``left_out`` are the keys that no part of the network was seen to use.
    """

    path: Path
    sha256: str
    state_dict: dict[str, Tensor]
    source: str
    info: dict[str, str | int | float] = field(default_factory=dict)
    has_average: bool = False  # whether the file also holds an averaged (EMA) copy
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Bytes of the file, or of all shards and their index."""
        return shards_size(self.path) if self.path.name.endswith(INDEX_SUFFIX) else self.path.stat().st_size

    def with_state(self, state: dict[str, Tensor], *notes: str) -> Checkpoint:
        """Return the checkpoint with other tensors, and what to say about that."""
        return replace(self, state_dict=state, notes=(*self.notes, *notes))


def read_checkpoint(
    path: str | os.PathLike[str], *, ema: bool = False, prefix: str | None = None, drop: Sequence[str] = ()
) -> Checkpoint:
    """Read ``path``, a file or a folder of shards; with ``ema``, its averaged copy of the weights.

    Of the keys only those behind ``prefix`` are taken, without it, and none that begins with one of ``drop``.

    Raises:
        InputFileError: there is no such file, or it is empty or unreadable.
        CheckpointError: it is not a checkpoint, is damaged, holds code in place of weights, or has no averaged copy.
        OptionError: no key begins with ``prefix`` or with one of ``drop``.
    """
    path = existing_file(in_folder(Path(path)), EXPECTED)
    with path.open("rb") as file:
        start = file.read(64)
    sharded = path.name.endswith(INDEX_SUFFIX)
    if sharded or (start[8:9] == b"{" and not start.startswith(b"PK")):
        found = _read_safetensors(path, sharded=sharded, ema=ema)
    else:
        found = _read_torch(path, start, ema=ema)
    return _chosen(_without_wrappers(found), prefix, drop)


def _read_safetensors(path: Path, *, sharded: bool, ema: bool) -> Checkpoint:
    tensors, digest = read_shards(path) if sharded else (read_file(path), sha256(path))
    if ema:
        raise CheckpointError(_lacking(path, tensors, ema=True))
    return Checkpoint(path, digest, _checked(path, tensors), "safetensors shards" if sharded else "bare state_dict")


def _read_torch(path: Path, start: bytes, *, ema: bool) -> Checkpoint:
    try:
        with torch_file(path) as file:
            entries, source = _find_state(path, file.content, ema=ema)
            average = any(_state_under(file.content, key) is not None for key in EMA_KEYS)
            state, notes = _read_state(path, entries, file.run)
            info = _info(file)
    except (PickleError, DamagedError, ScriptError) as error:
        raise CheckpointError(expected=f"a checkpoint at '{path}'", but=_reason(error, start)) from error
    return Checkpoint(path, sha256(path), state, source, info, average, notes)


def _reason(error: Exception, start: bytes) -> str:
    if isinstance(error, ScriptError):
        return "it is a TorchScript program; save the network's state_dict() instead"
    for signature, meaning in SIGNATURES.items():
        if start.startswith(signature):
            return f"found {meaning}"
    if isinstance(error, DamagedError):
        return f"it is damaged or cut off{_in_brackets(error)}; fetch it again"
    return "it is none, or is damaged or cut off; expected what torch.save or safetensors writes"


def _in_brackets(error: Exception) -> str:
    return f" ({error})" if str(error) else ""


def _find_state(path: Path, content: Any, *, ema: bool) -> tuple[Mapping[str, Any], str]:
    """Return the mapping of tensors inside ``content``, and the words for where it was."""
    if isinstance(content, Foreign):
        raise CheckpointError(_executable(path, content))
    if not isinstance(content, Mapping):
        raise CheckpointError(expected=f"a dict of tensors in '{path}'", found=type(content).__name__)
    if not ema and _is_state(content):
        return content, "bare state_dict"
    for key in EMA_KEYS if ema else STATE_KEYS:
        if (inner := _state_under(content, key)) is not None:
            return inner, f"'{key}' of a dict"
    if not ema and (parts := _parts(content)):
        names = ", ".join(f"'{shown(name)}'" for name in parts)
        only = len(parts) == 1
        joined = {
            key if only else f"{name}.{key}": value for name, part in parts.items() for key, value in part.items()
        }
        return joined, f"{names} of a dict"
    for key in EMA_KEYS if ema else STATE_KEYS:
        if isinstance(inner := content.get(key), Foreign):
            raise CheckpointError(_executable(path, inner))
    raise CheckpointError(_lacking(path, content, ema=ema))


def _lacking(path: Path, content: Mapping[Any, Any], *, ema: bool) -> str:
    names = sorted(repr(shown(str(key))) if not isinstance(key, Foreign) else f"a {shown(key.name)}" for key in content)
    found = ", ".join(names[:SHOWN]) or "nothing"
    wanted = " or ".join(EMA_KEYS if ema else STATE_KEYS)
    what = "an averaged (EMA) copy under" if ema else "the weights under"
    return f"expected {what} {wanted} in '{path}', found {found}"


def _executable(path: Path, found: Foreign) -> str:
    return (
        f"expected a checkpoint at '{path}', but it wants to load '{shown(found.name, 100)}', which is not a weight "
        "and is never executed here; if you trust the file, save its state_dict alone with "
        "torch.save(network.state_dict(), ...)"
    )


def _state_under(content: Any, key: str) -> Mapping[str, Any] | None:
    inner = content.get(key) if isinstance(content, Mapping) else None
    if isinstance(inner, Mapping) and isinstance(nested := inner.get("state_dict"), Mapping):
        inner = nested
    return inner if isinstance(inner, Mapping) and _is_state(inner) else None


def _parts(content: Mapping[Any, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the states that a dict keeps under names of their own, such as a backbone's and a head's."""
    others = (*EMA_KEYS, "optimizer", "optimizer_state_dict", "optim")
    named = {key: value for key, value in content.items() if isinstance(key, str) and key not in others}
    return {key: value for key, value in named.items() if isinstance(value, Mapping) and _is_state(value)}


def _is_tensor(value: object) -> bool:
    return isinstance(value, StoredTensor) or not_plain(value) is not None


def _is_state(value: Mapping[Any, Any]) -> bool:
    """Whether a mapping is of tensors by name; beside them may be a few other things, but no mapping."""
    tensors = sum(map(_is_tensor, value.values()))
    return (
        tensors > 0
        and 2 * tensors >= len(value)
        and all(isinstance(key, str) for key in value)
        and not any(isinstance(entry, Mapping) and entry for entry in value.values())
    )


def _read_state(path: Path, entries: Mapping[str, Any], run: Run) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Read the tensors of a mapping; what else it holds (``_extra_state``, versions) is left, and that is said."""
    state: dict[str, Tensor] = {}
    left = []
    for key, value in entries.items():
        _check_key(path, key)
        if (kind := not_plain(value)) is not None:
            raise CheckpointError(
                expected=f"plain real tensors in '{path}'", found=f"a {shown(kind)} tensor at '{shown(key)}'"
            )
        if not isinstance(value, StoredTensor):
            left.append(shown(key))
            continue
        try:
            state[key] = tensor(value, run)
        except DamagedError as error:
            raise CheckpointError(f"'{shown(key)}' in '{path}': {error}; fetch the file again") from error
    more = ", …" * (len(left) > SHOWN)
    return state, (f"left out, being no tensors: {', '.join(left[:SHOWN])}{more}",) if left else ()


def _check_key(path: Path, key: str) -> None:
    if len(key) > LONGEST_KEY or not key.isprintable():
        raise CheckpointError(
            expected=f"names of at most {LONGEST_KEY} printable characters for the tensors in '{path}'",
            found=f"'{shown(key)}'",
        )


def _checked(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Refuse tensors of safetensors that are no plain arrays, and names that no network has."""
    for key, value in tensors.items():
        _check_key(path, key)
        if value.layout != torch.strided or value.is_complex():
            raise CheckpointError(expected=f"plain real tensors in '{path}'", found=f"{value.dtype} at '{shown(key)}'")
    return tensors


def _without_wrappers(checkpoint: Checkpoint) -> Checkpoint:
    """Return the keys without what DataParallel, torch.compile and weight averaging put before and between them."""
    clean = {key: value for key, value in checkpoint.state_dict.items() if key not in COUNTERS}
    clean = renamed(checkpoint.path, clean, lambda key: key.removeprefix(COMPILED).replace(f".{COMPILED}", "."))
    while clean and all(key.startswith(DATA_PARALLEL) for key in clean):
        clean = {key.removeprefix(DATA_PARALLEL): value for key, value in clean.items()}
    return replace(checkpoint, state_dict=clean)


def renamed(path: Path, state: Mapping[str, Tensor], rename: Callable[[str], str]) -> dict[str, Tensor]:
    """Return the tensors under other keys.

    Raises:
        CheckpointError: two would have the same.
    """
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        if (name := rename(key)) in found:
            raise CheckpointError(
                expected=f"one tensor for '{shown(name)}' in '{path}'", found=f"two, one of them called '{shown(key)}'"
            )
        found[name] = value
    return found


def _chosen(checkpoint: Checkpoint, prefix: str | None, drop: Sequence[str]) -> Checkpoint:
    """Return the keys that the user wants: those behind a prefix, without it, and none that is to be dropped."""
    if prefix is not None:
        prefix = prefix if prefix.endswith(".") or not prefix else f"{prefix}."
        state = {k.removeprefix(prefix): v for k, v in checkpoint.state_dict.items() if k.startswith(prefix)}
        if not state:
            raise OptionError(
                expected="`prefix` with which keys begin", found=f"'{shown(prefix)}'", advice=_beginnings(checkpoint)
            )
        others = len(checkpoint.state_dict) - len(state)
        rest = f"; the other {others} keys were left out" if others else ""
        checkpoint = checkpoint.with_state(state, f"taken: the {len(state)} keys behind the prefix '{prefix}'{rest}")
    for beginning in drop:
        dropping = {key for key in checkpoint.state_dict if key.startswith(beginning)}
        dropping = dropping or {key for key in checkpoint.state_dict if f".{beginning}" in key}  # behind a prefix
        state = {key: value for key, value in checkpoint.state_dict.items() if key not in dropping}
        dropped = len(checkpoint.state_dict) - len(state)
        if not beginning or not dropped:
            raise OptionError(
                expected="`drop` with which keys begin", found=f"'{shown(beginning)}'", advice=_beginnings(checkpoint)
            )
        checkpoint = checkpoint.with_state(state, f"dropped as asked: {dropped} keys that begin with '{beginning}'")
    return checkpoint


def _beginnings(checkpoint: Checkpoint) -> str:
    counts: dict[str, int] = {}
    for key in checkpoint.state_dict:
        first = key.partition(".")[0]
        counts[first] = counts.get(first, 0) + 1
    most = sorted(counts.items(), key=lambda item: -item[1])[:SHOWN]
    return "they begin with " + ", ".join(f"'{shown(name)}.' ({number})" for name, number in most)


def _info(file: TorchFile) -> dict[str, str | int | float]:
    """Return what the file says about itself, as plain values."""
    found: dict[str, str | int | float] = {}
    for key in ("arch", "epoch", "best_prec1"):
        value = _plain(file.content.get(key), file.run)
        if isinstance(value, str):
            value = shown(value) if value.isprintable() else None
        if isinstance(value, str | float) or (isinstance(value, int) and abs(value) < 1 << 63):
            found[key] = value
    return found


def _plain(value: Any, run: Run) -> Any:
    """Return the number of a tensor or of a numpy scalar, as pickles write it; other values as they are."""
    if isinstance(value, StoredTensor) and value.shape == () and not_plain(value) is None:
        return tensor(value, run).item()
    if not isinstance(value, Foreign) or not value.name.endswith("multiarray.scalar") or len(value.args) != 2:
        return value
    dtype, content = value.args
    kind = SCALARS.get(str(dtype.args[0])) if isinstance(dtype, Foreign) and dtype.args else None
    if isinstance(content, Foreign) and content.name == "_codecs.encode":  # bytes, in pickles of old protocols
        content = str(content.args[0]).encode("latin-1", "replace")
    if kind is None or not isinstance(content, bytes) or struct.calcsize(kind) != len(content):
        return None
    return struct.unpack(f"<{kind}", content)[0]
