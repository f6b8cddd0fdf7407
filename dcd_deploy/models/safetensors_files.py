"""Weights as safetensors: one file, or several shards and the index that says which tensor lies where.

An index is untrusted. A shard's name is the plain name of a file beside it, and each shard holds exactly the tensors
that the index gives it.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from pathlib import Path

from torch import Tensor

from dcd_deploy.errors import CheckpointError, InputFileError
from dcd_deploy.files import existing_file, sha256
from dcd_deploy.optional import require

SUFFIX = ".safetensors"
INDEX_SUFFIX = f"{SUFFIX}.index.json"
LARGEST_INDEX_FILE = 64 * 1024**2
SHOWN = 3
EXPECTED = "a checkpoint (.pth.tar, .pt, .pth, .safetensors, or an index of shards)"


def in_folder(folder: Path) -> Path:
    """Return the weights that a folder holds: its index of shards, or its one safetensors file.

    Raises:
        InputFileError: it holds none, or several.
    """
    found = sorted(folder.glob(f"*{INDEX_SUFFIX}")) or sorted(folder.glob(f"*{SUFFIX}"))
    if len(found) == 1:
        return found[0]
    names = ", ".join(path.name[:80] for path in found[:SHOWN])
    what = f"it is a folder with {names}: name one" if found else "this is not a file, and a folder without safetensors"
    raise InputFileError(expected=f"{EXPECTED} at '{folder}'", but=what)


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
                found=f"{len(wrong)} others or missing: {', '.join(key[:80] for key in wrong[:SHOWN])}",
                advice="fetch both again",
            )
        tensors |= found
    return tensors, digest.hexdigest()


def shards_size(index: Path) -> int:
    """Return the bytes of the index and all its shards."""
    names = set(_weight_map(index).values())
    return sum(path.stat().st_size for path in (index, *(index.parent / name for name in names)))


def _weight_map(index: Path) -> dict[str, str]:
    if index.stat().st_size > LARGEST_INDEX_FILE:
        raise CheckpointError(expected=f"an index of shards at '{index}'", found="a file of more than 64 MiB")
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        found = content["weight_map"]
        names = {str(key): _shard_name(name) for key, name in found.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
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
        raise ValueError(f"{str(name)[:80]!r} is no plain name of a safetensors file beside it")
    return str(name)
