"""Reading picture files, for the command line; an app usually has its picture in memory already."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from dcd_deploy.errors import InputFileError, MissingDependencyError, shown
from dcd_deploy.files import existing_file, suffix_of
from dcd_deploy.optional import require
from dcd_deploy.runtimes.preprocessing import Picture

ARRAY = ".npy"
MOST_PIXELS = 110_000_000  # the largest cameras of phones; a picture of that size takes a gigabyte on the way


def read_picture(path: str | os.PathLike[str]) -> Picture:
    """Return the picture file as RGB (height, width, 3) uint8, turned as its camera says.

    A .npy file holds such an array, and needs no Pillow.

    Raises:
        InputFileError: it is not a picture.
        MissingDependencyError: Pillow is not installed.
    """
    path = existing_file(path, "a picture")
    if suffix_of(path) == ARRAY:
        return _read_array(path)
    try:
        image_module, operations = require("PIL.Image"), require("PIL.ImageOps")
    except MissingDependencyError as error:
        raise MissingDependencyError(
            f"{error}, which reads PNG and JPEG; or give a {ARRAY} file of RGB (height, width, 3) in uint8"
        ) from error
    try:
        with warnings.catch_warnings(), image_module.open(path) as image:
            warnings.simplefilter("ignore")  # Pillow's on large pictures: the bound is ours
            _check_size(*image.size)
            return np.asarray(_eight_bits(operations.exif_transpose(image), image_module).convert("RGB"))
    except Exception as error:  # a damaged picture fails in as many ways as there are formats
        reason = shown(str(error) or type(error).__name__, 200)
        raise InputFileError(expected=f"a picture at '{path}'", but=f"it cannot be read: {reason}") from error


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise ValueError(f"{width}×{height} pixels, more than {MOST_PIXELS // 10**6} million")


def _eight_bits(image: Any, image_module: Any) -> Any:
    """Return a picture of 16-bit grey levels with 8 bits of them; Pillow would make all above 255 white."""
    if not image.mode.startswith(("I", "F")):
        return image
    levels = np.asarray(image)
    if image.mode == "F" or levels.min() < 0 or levels.max() >= 1 << 16:
        raise ValueError("its grey levels are not of 8 or 16 bits; convert it to RGB")
    return image_module.fromarray((levels >> 8).astype(np.uint8))


def _read_array(path: Path) -> Picture:
    """Return the array of a .npy file; it is mapped first, so that no size that the file claims is believed."""
    advice = "save it with numpy.save"
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise InputFileError(expected=f"a picture at '{path}'", but=f"it is damaged: {error}", advice=advice) from error
    if not isinstance(found, np.ndarray) or found.ndim != 3 or found.shape[2] != 3 or found.dtype != np.uint8:
        shape = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else "an archive"
        raise InputFileError(expected=f"RGB (height, width, 3) in uint8 at '{path}'", found=shape, advice=advice)
    return np.array(found)
