"""Finding the weights in what a checkpoint file holds: under which key, as which tensors, and what lies beside them."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from dcd_deploy.errors import CheckpointError, shown
from dcd_deploy.models.pickled_values import Foreign, StoredTensor
from dcd_deploy.models.torch_files import (
    MOST_EXPANDED,
    DamagedError,
    ExpandedError,
    Run,
    TorchFile,
    expanded,
    not_plain,
    tensor,
)

STATE_KEYS = ("state_dict", "model", "model_state_dict", "net", "network", "weights")
EMA_KEYS = ("state_dict_ema", "ema_state_dict", "model_ema", "ema_model", "ema", "model_ema_state_dict")
OPTIMIZERS = ("optimizer", "optimizer_state_dict", "optim")
DEEPEST = 4  # dicts within each other
LONGEST_KEY = 400
SHOWN = 12
QUANTISED = "quantised"  # as ``torch_files`` calls such a tensor
OBSERVER = re.compile(r"\w*(fake_quant|activation_post_process|observer)\w*")  # a part of a key
# numpy's number types as its pickles write them → how ``struct`` reads one
SCALARS = {"f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i", "i2": "h", "i1": "b", "b1": "?"} | {
    "u8": "Q", "u4": "I", "u2": "H", "u1": "B",
}  # fmt: skip


def find_state(path: Path, content: Any, *, ema: bool) -> tuple[Mapping[str, Any], str]:
    """Return the mapping of tensors inside ``content``, and the words for where it was."""
    if isinstance(content, Foreign):
        raise CheckpointError(_executable(path, content))
    if not isinstance(content, Mapping):
        raise CheckpointError(expected=f"a dict of tensors in '{path}'", found=type(content).__name__)
    if not ema and _is_state(content):
        return content, "bare state_dict"
    for key in EMA_KEYS if ema else STATE_KEYS:
        if (within := _state_within(content.get(key), key, ema=ema)) is not None:
            return within[1], f"'{within[0]}' of a dict"
    if not ema and (parts := _parts(content)):
        names = ", ".join(f"'{shown(name)}'" for name in parts)
        only = len(parts) == 1
        joined = {
            key if only else f"{name}.{key}": value for name, part in parts.items() for key, value in part.items()
        }
        return joined, f"{names} of a dict"
    if not ema and (within := _state_within(content, "", ema=False)) is not None:
        return within[1], f"'{within[0]}' of a dict"
    for key in EMA_KEYS if ema else STATE_KEYS:
        if isinstance(inner := content.get(key), Foreign):
            raise CheckpointError(_executable(path, inner))
    raise CheckpointError(lacking(path, content, ema=ema))


def lacking(path: Path, content: Mapping[Any, Any], *, ema: bool) -> str:
    """Return what to say where ``content`` holds no weights under a name that is known."""
    names = sorted(repr(shown(str(key))) if not isinstance(key, Foreign) else f"a {shown(key.name)}" for key in content)
    found = ", ".join(names[:SHOWN]) or "nothing"
    wanted = " or ".join(EMA_KEYS if ema else STATE_KEYS)
    what = "an averaged (EMA) copy under" if ema else "the weights under"
    way = "; where its keys lie among the others, leave `ema` out and name what stands before them by `prefix`"
    return f"expected {what} {wanted} in '{path}', found {found}" + way * ema


def _executable(path: Path, found: Foreign) -> str:
    return (
        f"expected a checkpoint at '{path}', but it wants to load '{shown(found.name, 100)}', which is not a weight "
        "and is never executed here; if you trust the file, save its state_dict alone with "
        "torch.save(network.state_dict(), ...)"
    )


def _state_within(content: Any, path: str, *, ema: bool, depth: int = DEEPEST) -> tuple[str, Mapping[str, Any]] | None:
    """Return the one mapping of tensors in ``content``, or in the dicts that it holds, and its path.

    None where it holds none or several. Optimizers are passed over, and averaged copies unless one is wanted.
    """
    if not isinstance(content, Mapping) or not depth:
        return None
    if _is_state(content):
        return path, content
    others = OPTIMIZERS if ema else (*EMA_KEYS, *OPTIMIZERS)
    named = {key: value for key, value in content.items() if isinstance(key, str) and key not in others}
    inner = [
        one
        for key, value in named.items()
        if (one := _state_within(value, f"{path}.{shown(key)}".strip("."), ema=ema, depth=depth - 1)) is not None
    ]
    return inner[0] if len(inner) == 1 else None


def holds_average(content: Any) -> bool:
    """Whether a checkpoint holds an averaged copy of its weights."""
    return isinstance(content, Mapping) and any(
        _state_within(content.get(key), key, ema=True) is not None for key in EMA_KEYS
    )


def _parts(content: Mapping[Any, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the states that a dict keeps under names of their own, such as a backbone's and a head's."""
    others = (*EMA_KEYS, *OPTIMIZERS)
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


def read_state(path: Path, entries: Mapping[str, Any], run: Run) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Read the tensors of a mapping; what else it holds (``_extra_state``, versions) is left, and that is said."""
    state: dict[str, Tensor] = {}
    left, all_expanded = [], 0
    for key, value in entries.items():
        check_key(path, key)
        if (kind := not_plain(value)) is not None:
            if kind == QUANTISED:
                raise quantised(path, [key])
            raise CheckpointError(
                expected=f"plain real tensors in '{path}'", found=f"a {shown(kind)} tensor at '{shown(key)}'"
            )
        if not isinstance(value, StoredTensor):
            left.append(shown(key))
            continue
        state[key] = _read(path, key, value, run)
        all_expanded += expanded(value)
        if all_expanded > MOST_EXPANDED:
            raise _too_expanded(path, key, f"with others, has {all_expanded} expanded numbers")
    more = ", …" * (len(left) > SHOWN)
    return state, (f"left out, being no tensors: {', '.join(left[:SHOWN])}{more}",) if left else ()


def _read(path: Path, key: str, value: StoredTensor, run: Run) -> Tensor:
    try:
        return tensor(value, run)
    except DamagedError as error:
        raise CheckpointError(f"'{shown(key)}' in '{path}': {error}; fetch the file again") from error
    except ExpandedError as error:
        raise _too_expanded(path, key, str(error)) from error


def _too_expanded(path: Path, key: str, found: str) -> CheckpointError:
    return CheckpointError(
        f"'{shown(key)}' in '{path}': {found}, more than the {MOST_EXPANDED} that are taken; save .contiguous() tensors"
    )


def check_key(path: Path, key: str) -> None:
    """Raise CheckpointError where a tensor's name is none that a network would give."""
    if len(key) > LONGEST_KEY or not key.isprintable():
        raise CheckpointError(
            expected=f"names of at most {LONGEST_KEY} printable characters for the tensors in '{path}'",
            found=f"'{shown(key)}'",
        )


def check_float(path: Path, keys: Iterable[str]) -> None:
    """Raise CheckpointError where keys are those of observers and roundings, which training for int8 puts in."""
    known = list(keys)
    pairs = {key.removesuffix("zero_point") for key in known if key.endswith("zero_point")}
    found = [key for key in known if any(map(OBSERVER.fullmatch, key.split(".")))]
    found = found or [key for key in known if key.endswith("scale") and key.removesuffix("scale") in pairs]
    if found:
        raise quantised(path, found)


def quantised(path: Path, keys: Sequence[str]) -> CheckpointError:
    """Return the error for a checkpoint with tensors at ``keys`` that only a quantised network has."""
    outermost = (next(filter(OBSERVER.fullmatch, key.split(".")), None) for key in keys)
    parts = dict.fromkeys(part for part in outermost if part)
    drops = " ".join(f"`drop` {shown(part)}" for part in list(parts)[:3])
    return CheckpointError(
        expected=f"weights in floating point in '{path}'",
        found=f"a network that is quantised, or was trained for it, with '{shown(keys[0])}'",
        advice="give the checkpoint from before, which `precision` int8 quantises"
        + (f"; or its float weights alone with {drops}" if drops else ""),
    )


def info_of(file: TorchFile) -> dict[str, str | int | float]:
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
