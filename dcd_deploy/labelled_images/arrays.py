"""Inputs that were made elsewhere: an .npz file with ``images`` (N, C, H, W) and ``labels`` (N).

Nothing is unpickled. No size is believed before it was checked: those of the archive's directory, then those of each
array's own header.
"""

from __future__ import annotations

import hashlib
import math
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.errors import InputFileError, OptionError, shown
from dcd_deploy.files import sha256
from dcd_deploy.labelled_images.form import Images, InputForm
from dcd_deploy.samples import read_array

SUFFIX = ".npz"
IMAGES, LABELS = "images", "labels"
MOST_CLASSES = 1_000_000
EXPECTED = f"an .npz file with '{IMAGES}' (N, C, H, W), float32 and normalised or uint8, and '{LABELS}' (N)"


@dataclass(frozen=True, eq=False)
class ImageArray:
    """Inputs (N, C, H, W) that were made elsewhere; ``identity`` is a hash of the whole."""

    values: Images
    labels: tuple[int, ...] | None
    identity: str
    class_names: tuple[str, ...] | None = None
    first: tuple[int, ...] = ()  # the rows' numbers, where they are a part
    newest_ns: int = 0  # the identity says enough

    def __len__(self) -> int:
        return len(self.values)

    @property
    def names(self) -> tuple[str, ...]:
        """What reports call the rows."""
        return tuple(f"row {i}" for i in self.first or range(len(self)))

    def part(self, indices: Sequence[int]) -> ImageArray:
        """Return only the images of these indices."""
        labels = None if self.labels is None else tuple(self.labels[i] for i in indices)
        rows = tuple(self.first[i] for i in indices) if self.first else tuple(indices)
        return ImageArray(self.values[list(indices)], labels, self.identity, None, rows)

    def sha256(self, index: int) -> str:
        """Return the hash of a row's bytes."""
        return hashlib.sha256(np.ascontiguousarray(self.values[index]).tobytes()).hexdigest()

    def check(self, form: InputForm) -> None:
        """Raise OptionError unless a model takes such arrays."""
        shape, dtype = self.values.shape[1:], str(self.values.dtype)
        fits = len(form.shape) == 3 and all(want in (None, size) for want, size in zip(form.shape, shape, strict=True))
        if not fits or dtype != form.dtype:
            raise OptionError(
                expected=f"'{IMAGES}' (N, {', '.join(map(str, form.shape))}) of {form.dtype}, as the model takes them",
                found=f"{self.values.shape} of {dtype}",
            )

    def tensor(self, index: int, form: InputForm) -> Images:
        """Return an image as input (1, C, H, W)."""
        del form
        return self.values[index : index + 1]


def open_arrays(path: Path) -> ImageArray:
    """Return the images of an .npz file.

    Raises:
        InputFileError: it is no such file, is damaged or too large.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {each.filename: each for each in archive.infolist()}
            values = _array(archive, members, IMAGES, "fu")
            labels = _array(archive, members, LABELS, "iu") if f"{LABELS}.npy" in members else None
        _check_images(values)
        found = None if labels is None else _checked_labels(labels, len(values))
    except Exception as error:  # zipfile, the decompressors and numpy's parser raise whatever wrong bytes make them
        reason = shown(" ".join(str(error).split()), 200) or type(error).__name__
        raise InputFileError(expected=f"{EXPECTED} at '{path}'", but=f"it cannot be read: {reason}") from error
    return ImageArray(values, found, sha256(path))


def _array(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], name: str, kinds: str) -> NDArray[Any]:
    member = members.get(f"{name}.npy")
    if member is None:
        raise ValueError(f"it has no array '{name}', but {', '.join(members) or 'nothing'}")
    if member.file_size > (most := _most_bytes()):
        raise ValueError(f"'{name}' claims {member.file_size >> 20} MiB, more than the {most >> 20} MiB that fit here")
    with archive.open(member) as file:
        return read_array(file, member.file_size, kinds)


def _most_bytes() -> int:
    """Return a quarter of the machine's memory: what is read is copied once on the way."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    except (AttributeError, ValueError, OSError):  # Windows
        return 1 << 31


def _check_images(values: NDArray[Any]) -> None:
    if values.dtype not in (np.dtype("<f4"), np.dtype("u1")) or values.ndim != 4 or not math.prod(values.shape):
        raise ValueError(f"'{IMAGES}' is {values.shape} of {values.dtype}, not (N, C, H, W) of float32 or uint8")
    if values.dtype.kind == "f" and not all(np.isfinite(row).all() for row in values):
        raise ValueError(f"'{IMAGES}' holds NaN or infinity")


def _checked_labels(labels: NDArray[Any], count: int) -> tuple[int, ...]:
    if labels.shape != (count,):
        raise ValueError(f"'{LABELS}' is {labels.shape}, not ({count},), one for each image")
    if labels.min() < 0 or labels.max() >= MOST_CLASSES:
        raise ValueError(f"'{LABELS}' has {labels.min()} to {labels.max()}, not the numbers of classes from 0 on")
    return tuple(map(int, labels))
