"""Reading a checkpoint file: weights only, whatever wraps them and whatever lies beside them.

    file → its content, tensors not yet read → the mapping of tensors inside → keys without wrappers → tensors

Nothing is executed (``pickles``): what is no weight stays an inert placeholder. Where the weights themselves are such
an object, a whole pickled network, the file is refused by its name.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from dcd_deploy.errors import CheckpointError, OptionError, shown
from dcd_deploy.files import existing_file, sha256
from dcd_deploy.models.checkpoint_content import (
    SHOWN,
    check_float,
    check_key,
    find_state,
    holds_average,
    info_of,
    lacking,
    read_state,
)
from dcd_deploy.models.foreign_files import FIRST_BYTES, meaning_of
from dcd_deploy.models.pickled_values import PickleError
from dcd_deploy.models.safetensors_files import EXPECTED, INDEX_SUFFIX, in_folder, read_file, read_shards, shards_size
from dcd_deploy.models.torch_files import FLOAT8, PLAIN, DamagedError, ScriptError, torch_file

DATA_PARALLEL, COMPILED = "module.", "_orig_mod."  # what DataParallel and torch.compile put before keys
COUNTERS = ("n_averaged", "total_ops", "total_params")  # of averages, and of profilers that count operations


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
        start = file.read(FIRST_BYTES)
    sharded = path.name.endswith(INDEX_SUFFIX)
    if sharded or (start[8:9] == b"{" and not start.startswith(b"PK")):
        found = _read_safetensors(path, sharded=sharded, ema=ema)
    else:
        found = _read_torch(path, start, ema=ema)
    chosen = _chosen(_without_wrappers(found), prefix, drop)
    check_float(path, chosen.state_dict)
    return _widened(chosen)


def _widened(checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint with its tensors of float8 as float32, which has all of their numbers."""
    state = checkpoint.state_dict
    narrow = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in state.values() if tensor.dtype in FLOAT8)
    if not narrow:
        return checkpoint
    wide = {key: tensor.float() if tensor.dtype in FLOAT8 else tensor for key, tensor in state.items()}
    kinds = ", ".join(f"{name} ({count})" for name, count in sorted(narrow.items()))
    return checkpoint.with_state(wide, f"tensors of {kinds} are taken as float32, which has the same numbers")


def _read_safetensors(path: Path, *, sharded: bool, ema: bool) -> Checkpoint:
    tensors, digest = read_shards(path) if sharded else (read_file(path), sha256(path))
    if ema:
        raise CheckpointError(lacking(path, tensors, ema=True))
    return Checkpoint(path, digest, _checked(path, tensors), "safetensors shards" if sharded else "bare state_dict")


def _read_torch(path: Path, start: bytes, *, ema: bool) -> Checkpoint:
    try:
        with torch_file(path) as file:
            entries, source = find_state(path, file.content, ema=ema)
            average = holds_average(file.content)
            state, notes = read_state(path, entries, file.run)
            info = info_of(file)
    except (PickleError, DamagedError, ScriptError) as error:
        raise CheckpointError(expected=f"a checkpoint at '{path}'", but=_reason(error, start)) from error
    return Checkpoint(path, sha256(path), state, source, info, average, notes)


def _reason(error: Exception, start: bytes) -> str:
    if isinstance(error, ScriptError):
        return "it is a TorchScript program; save the network's state_dict() instead"
    if (meaning := meaning_of(start)) is not None:
        return f"found {meaning}"
    if isinstance(error, DamagedError):
        return f"it is damaged or cut off{_in_brackets(error)}; fetch it again"
    return "it is none, or is damaged or cut off; expected what torch.save or safetensors writes"


def _in_brackets(error: Exception) -> str:
    return f" ({error})" if str(error) else ""


def _checked(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Refuse tensors of safetensors that are no plain arrays, and names that no network has."""
    for key, value in tensors.items():
        check_key(path, key)
        if value.layout != torch.strided or value.dtype not in PLAIN:
            raise CheckpointError(expected=f"plain real tensors in '{path}'", found=f"{value.dtype} at '{shown(key)}'")
    return tensors


def _without_wrappers(checkpoint: Checkpoint) -> Checkpoint:
    """Return the keys without what DataParallel, torch.compile and weight averaging put before and between them."""
    clean = {key: value for key, value in checkpoint.state_dict.items() if key.rpartition(".")[2] not in COUNTERS}
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
