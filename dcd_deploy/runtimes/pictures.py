"""Reading picture files, for the command line; an app usually has its picture in memory already."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from dcd_deploy.errors import InputFileError, MissingDependencyError
from dcd_deploy.files import existing_file, suffix_of
from dcd_deploy.optional import require
from dcd_deploy.runtimes.preprocessing import Picture

ARRAY = ".npy"


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
        with image_module.open(path) as image:
            return np.asarray(operations.exif_transpose(image).convert("RGB"))
    except (OSError, ValueError, SyntaxError, image_module.DecompressionBombError) as error:
        raise InputFileError(expected=f"a picture at '{path}'", but=f"it cannot be read: {error}") from error


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
