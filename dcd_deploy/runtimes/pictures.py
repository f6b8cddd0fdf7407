"""Reading pictures: what an app has of one, as the array that preprocessing takes.

path of a file │ its content, as bytes │ Pillow's image │ array (H, W, 3) uint8   →   array (H, W, 3) uint8, RGB
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from dcd_deploy.errors import InputFileError, MissingDependencyError, OptionError, shown
from dcd_deploy.files import existing_file, suffix_of
from dcd_deploy.optional import require
from dcd_deploy.runtimes.preprocessing import Picture

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

ARRAY = ".npy"
MOST_PIXELS = 110_000_000  # the largest cameras of phones; a picture of that size takes a gigabyte on the way
Image = Union[Picture, str, "os.PathLike[str]", bytes, "PillowImage"]


def as_picture(image: Image) -> Picture:
    """Return an image as RGB pixels; files, bytes and Pillow's images are turned as their camera says.

    Raises:
        InputFileError: a file or its content is no picture.
        OptionError: it is none of these.
        MissingDependencyError: Pillow is not installed, and it would be needed.
    """
    if isinstance(image, np.ndarray):
        return image
    if isinstance(image, (str, os.PathLike)):
        return read_picture(image)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return decoded(io.BytesIO(image), f"{len(image)} bytes")
    pillow = sys.modules.get("PIL.Image")  # whoever has an image of it has loaded it
    if pillow is not None and isinstance(image, pillow.Image):
        return decoded(image, "an image of Pillow")
    raise OptionError(
        expected="an RGB picture: a path, bytes of a picture file, Pillow's image, or an array (height, width, 3) of "
        "uint8",
        found=type(image).__name__,
    )


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
    return decoded(path, f"'{path}'")


def decoded(source: Path | io.BytesIO | Any, where: str) -> Picture:
    """Return a picture file, its content, or an opened image of Pillow as RGB, turned as its camera says.

    Raises:
        InputFileError: it is not a picture. MissingDependencyError: Pillow is not installed.
    """
    try:
        image_module, operations = require("PIL.Image"), require("PIL.ImageOps")
    except MissingDependencyError as error:
        raise MissingDependencyError(
            f"{error}, which reads PNG and JPEG; or give a {ARRAY} file of RGB (height, width, 3) in uint8"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's on large pictures: the bound is ours
            if isinstance(source, (Path, io.BytesIO)):
                with image_module.open(source) as image:
                    return _pixels(image, image_module, operations)
            return _pixels(source, image_module, operations)
    except Exception as error:  # a damaged picture fails in as many ways as there are formats
        reason = shown(str(error) or type(error).__name__, 200)
        raise InputFileError(
            expected=f"a picture at {where}",
            but=f"it cannot be read: {reason}",
            advice=f"give a PNG or JPEG file, or a {ARRAY} file of RGB (height, width, 3) in uint8",
        ) from error


def _pixels(image: Any, image_module: Any, operations: Any) -> Picture:
    _check_size(*image.size)
    return np.asarray(_eight_bits(operations.exif_transpose(image), image_module).convert("RGB"))


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
