"""Reading a checkpoint file: weights only, whatever wraps them.

    file → torch.load(weights_only=True) or safetensors → the mapping of tensors inside → keys without wrapper prefixes

A pickle is never executed: torch's restricted reader builds tensors, containers and the few harmless types of
``HARMLESS``, and refuses everything else by name.
"""

from __future__ import annotations

import argparse
import os
import pickletools
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from dcd_deploy.errors import CheckpointError
from dcd_deploy.files import existing_file, sha256
from dcd_deploy.optional import require

STATE_KEYS = ("state_dict", "model", "model_state_dict", "net", "network", "weights")
EMA_KEYS = ("state_dict_ema", "ema_state_dict", "model_ema", "ema_model", "ema", "model_ema_state_dict")
WRAPPERS = ("module.", "_orig_mod.")  # DataParallel and torch.compile put these before every key
COUNTERS = ("n_averaged",)  # torch.optim.swa_utils.AveragedModel's own

NUMPY_SCALAR = np.float64(0).__reduce__()[0]  # the function that pickles of numpy scalars name

# What training scripts like to put beside the weights: their options, and accuracies as numpy scalars.
HARMLESS: list[Any] = [
    argparse.Namespace,
    (NUMPY_SCALAR, "numpy.core.multiarray.scalar"),  # numpy 1's name for it
    NUMPY_SCALAR,
    np.dtype,
    *{type(np.dtype(kind)) for kind in ("float16", "float32", "float64", "int32", "int64")},
]

PICKLE = b"\x80"
LARGEST_SCAN = 64 * 1024**2  # of a pickle that is looked through for names
WEIGHTS_OWN = ("torch", "numpy", "collections")  # packages whose names are in every checkpoint

SIGNATURES = {
    b"version https://git-lfs": "a Git LFS pointer; fetch the real file with 'git lfs pull'",
    b"<!DOCTYPE html": "an HTML page; download the file itself",
    b"<html": "an HTML page; download the file itself",
    b"\x08": "probably an ONNX model; give the PyTorch checkpoint that it came from",
}


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a file: upstream key → tensor, and what else the file said about them."""

    path: Path
    sha256: str
    state_dict: dict[str, Tensor]
    source: str
    info: dict[str, str | int | float] = field(default_factory=dict)
    has_average: bool = False  # whether the file also holds an averaged (EMA) copy


def read_checkpoint(path: str | os.PathLike[str], *, ema: bool = False) -> Checkpoint:
    """Read ``path``; with ``ema``, its averaged copy of the weights.

    Raises:
        InputFileError: there is no such file, or it is empty or unreadable.
        CheckpointError: it is not a checkpoint, is damaged, wants to execute something, or has no averaged copy.
    """
    path = existing_file(path, "a checkpoint (.pth.tar, .pt, .pth or .safetensors)")
    content = _load(path)
    state, source = _find_state(path, content, ema=ema)
    average = any(_state_under(content, key) is not None for key in EMA_KEYS)
    return Checkpoint(path, sha256(path), _without_wrappers(path, state), source, _info(content), average)


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        start = file.read(16 * 1024)
    if start[8:9] == b"{" and not start.startswith(b"PK"):
        return _load_safetensors(path)
    try:
        with torch.serialization.safe_globals(HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch remarks on foreign pickles before it refuses them
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"expected a checkpoint at '{path}', but {_reason(error, path, start)}") from error


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    safetensors = require("safetensors.torch")
    try:
        tensors: dict[str, Tensor] = safetensors.load_file(path)
    except Exception as error:
        raise CheckpointError(
            f"expected a safetensors file at '{path}', but it is damaged ({error}); fetch it again"
        ) from error
    return tensors


def _reason(error: Exception, path: Path, start: bytes) -> str:
    text = str(error)
    if forbidden := _forbidden_name(text, path, start):
        return (
            f"it wants to load '{forbidden}', which is not a weight and is never executed here; "
            "if you trust the file, save its state_dict alone with torch.save(network.state_dict(), ...)"
        )
    if "TorchScript" in text:
        return "it is a TorchScript program; save the network's state_dict() instead"
    for signature, meaning in SIGNATURES.items():
        if start.startswith(signature):
            return f"found {meaning}"
    if start.startswith(b"PK"):
        return f"it is damaged or cut off ({_first_clause(text)}); fetch it again"
    return "it is none, or is damaged or cut off; expected what torch.save or safetensors writes"


def _forbidden_name(text: str, path: Path, start: bytes) -> str | None:
    """Return what the file would have loaded, from torch's refusal or, where torch gave up before, from the file."""
    if named := re.search(r"GLOBAL ([\w.]+)", text):
        return named[1]
    if not start.startswith(PICKLE):
        return None
    with path.open("rb") as file:
        return _foreign_name(file)


def _foreign_name(file: BinaryIO) -> str | None:
    """Return the first name in a pickle that weights have no use for; its instructions are read, not followed."""
    texts: list[str] = []
    try:
        for instruction, argument, _ in pickletools.genops(file.read(LARGEST_SCAN)):
            name = None
            if instruction.name in ("GLOBAL", "INST"):
                name = str(argument).replace(" ", ".")
            elif instruction.name == "STACK_GLOBAL":
                name = ".".join(texts[-2:])
            elif isinstance(argument, str):
                texts.append(argument)
            if name and name.partition(".")[0] not in WEIGHTS_OWN:
                return name
    except Exception:  # noqa: BLE001 - a damaged pickle fails in any way, and names nothing
        return None
    return None


def _first_clause(text: str) -> str:
    """Return the first sentence of a torch message, without its remarks on itself."""
    return re.split(r"\. | This is |\n", text, maxsplit=1)[0].strip()


def _find_state(path: Path, content: Any, *, ema: bool) -> tuple[Mapping[str, Tensor], str]:
    """Return the mapping of tensors inside ``content``, and the words for where it was."""
    if not isinstance(content, Mapping):
        raise CheckpointError(f"expected a dict of tensors in '{path}', found {type(content).__name__}")
    if not ema and _is_state(content):
        return content, "bare state_dict"
    for key in EMA_KEYS if ema else STATE_KEYS:
        if (inner := _state_under(content, key)) is not None:
            return inner, f"'{key}' of a dict"
    found = ", ".join(sorted(repr(str(key)) for key in content)[:12]) or "nothing"
    wanted = " or ".join(EMA_KEYS if ema else STATE_KEYS)
    what = "an averaged (EMA) copy under" if ema else "the weights under"
    raise CheckpointError(f"expected {what} {wanted} in '{path}', found {found}")


def _state_under(content: Mapping[str, Any], key: str) -> Mapping[str, Tensor] | None:
    inner = content.get(key)
    if isinstance(inner, Mapping) and isinstance(nested := inner.get("state_dict"), Mapping):
        inner = nested
    return inner if isinstance(inner, Mapping) and _is_state(inner) else None


def _is_state(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and any(isinstance(tensor, Tensor) for tensor in value.values())
        and all(isinstance(key, str) and isinstance(tensor, Tensor) for key, tensor in value.items())
    )


def _without_wrappers(path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    clean = {key: tensor for key, tensor in state.items() if key not in COUNTERS}
    while prefix := next((w for w in WRAPPERS if clean and all(key.startswith(w) for key in clean)), None):
        clean = {key.removeprefix(prefix): tensor for key, tensor in clean.items()}
    for key, tensor in clean.items():
        _check_storage(path, key, tensor)
    return clean


def _check_storage(path: Path, key: str, tensor: Tensor) -> None:
    """Refuse tensors that claim to be larger than what the file holds, or that are not plain arrays."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
        raise CheckpointError(
            f"expected plain real tensors in '{path}', found {tensor.layout} {tensor.dtype} at '{key}'"
        )
    if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        raise CheckpointError(
            f"'{key}' in '{path}' claims shape {tuple(tensor.shape)}, but the file holds less than that"
        )


def _info(content: Any) -> dict[str, str | int | float]:
    """Return what the file says about itself, as plain values."""
    found: dict[str, str | int | float] = {}
    for key in ("arch", "epoch", "best_prec1"):
        value = content.get(key)
        if isinstance(value, Tensor | np.generic) and value.ndim == 0:
            value = value.item()
        if isinstance(value, str | int | float):
            found[key] = value
    return found
