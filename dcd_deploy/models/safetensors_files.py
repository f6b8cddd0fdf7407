"""Weights as safetensors: one file, or several shards and the index that says which tensor lies where.

An index is untrusted. A shard's name is the plain name of a file beside it, and each shard holds exactly the tensors
that the index gives it.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from pathlib import Path

from torch import Tensor

from dcd_deploy.errors import CheckpointError, InputFileError, shown
from dcd_deploy.files import existing_file, read_json, sha256
from dcd_deploy.optional import require

SUFFIX = ".safetensors"
INDEX_SUFFIX = f"{SUFFIX}.index.json"
LARGEST_INDEX_FILE = 32 << 20
SHOWN = 3
EXPECTED = "a checkpoint (.pth.tar, .pt, .pth, .safetensors, or an index of shards)"


def in_folder(path: Path) -> Path:
    """Return ``path``, or if it is a folder the weights in it: its index of shards, or its one safetensors file.

    Raises:
        InputFileError: it holds none, or several.
    """
    if not os.path.isdir(path):  # noqa: PTH112 - False too of a path that no system takes
        return path
    try:
        names = sorted(path.iterdir())  # glob is silent about a refusal
    except OSError as error:
        raise InputFileError(f"expected {EXPECTED} at '{path}', but {error.strerror}; check the path") from error
    indices = [each for each in names if each.name.endswith(INDEX_SUFFIX)]
    found = indices or [each for each in names if each.name.endswith(SUFFIX)]
    if len(found) == 1:
        return found[0]
    several = ", ".join(shown(each.name) for each in found[:SHOWN])
    what = (
        f"it is a folder with {several}: name one" if found else "this is not a file, and a folder without safetensors"
    )
    raise InputFileError(expected=f"{EXPECTED} at '{path}'", but=what)


def read_file(path: Path) -> dict[str, Tensor]:
    """Return the tensors of one file.

    Raises:
        CheckpointError: it is damaged.
    """
    safetensors = require("safetensors.torch")
    try:
        tensors: dict[str, Tensor] = safetensors.load_file(path)
    except Exception as error:
        raise CheckpointError(
            expected=f"a safetensors file at '{path}'", but=f"it is damaged ({error})", advice="fetch it again"
        ) from error
    return tensors


def read_shards(index: Path) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of all shards, and one hash of the index and them.

    Raises:
        CheckpointError: the index is damaged or names files elsewhere, or a shard holds other tensors than it says.
        InputFileError: a shard is missing.
    """
    keys_of: dict[str, set[str]] = defaultdict(set)
    for key, name in _weight_map(index).items():
        keys_of[name].add(key)
    tensors: dict[str, Tensor] = {}
    digest = hashlib.sha256(sha256(index).encode())
    for name, keys in sorted(keys_of.items()):
        shard = existing_file(index.parent / name, f"a shard of '{index.name}'")
        digest.update(sha256(shard).encode())
        found = read_file(shard)
        if wrong := sorted(keys ^ found.keys()):
            raise CheckpointError(
                expected=f"the tensors that '{index.name}' names in '{name}'",
                found=f"{len(wrong)} others or missing: {', '.join(map(shown, wrong[:SHOWN]))}",
                advice="fetch both again",
            )
        tensors |= found
    return tensors, digest.hexdigest()


def shards_size(index: Path) -> int:
    """Return the bytes of the index and all its shards."""
    names = set(_weight_map(index).values())
    return sum(path.stat().st_size for path in (index, *(index.parent / name for name in names)))


def _weight_map(index: Path) -> dict[str, str]:
    try:
        found = read_json(index, LARGEST_INDEX_FILE)["weight_map"]
        names = {str(key): _shard_name(name) for key, name in found.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)[:200]
        raise CheckpointError(
            expected=f"an index of shards at '{index}' ({{'weight_map': {{key: file}}}})",
            but=f"it is damaged: {reason}",
        ) from error
    if not names:
        raise CheckpointError(expected=f"an index of shards at '{index}'", found="one without tensors")
    return names


def _shard_name(name: object) -> str:
    """Return the name if it is one of a file in the same folder."""
    plain = isinstance(name, str) and name.isprintable() and not set(name) & set("/\\:") and name.endswith(SUFFIX)
    if not plain or str(name).startswith("."):
        raise ValueError(f"'{shown(str(name))}' is no plain name of a safetensors file beside it")
    return str(name)
