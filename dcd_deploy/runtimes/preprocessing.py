"""From a picture to the input tensor, with numpy alone, as the published evaluation does it.

Resize the short side (bilinear, averaging when it shrinks), crop the centre, scale to 0..1, normalise, channels
first. The resizing is that of Pillow and torchvision to within one grey level. Only the pixels that the crop keeps are
computed: whatever a picture's proportions and a file's sizes are, that takes memory for the picture and the crop.

Picture files are read here too, for the command line; an app usually has its picture in memory already.
"""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.artifacts import FLOAT32, UINT8, Preprocessing
from dcd_deploy.errors import InputFileError, MissingDependencyError, OptionError, shown
from dcd_deploy.files import existing_file, suffix_of
from dcd_deploy.optional import require

Picture = NDArray[np.uint8]


def preprocess(picture: Picture, settings: Preprocessing, dtype: str = FLOAT32) -> NDArray[np.float32 | np.uint8]:
    """Return the tensor (1, 3, height, width) of an RGB picture (H, W, 3) uint8; of "uint8" it is not normalised.

    Raises:
        OptionError: the picture has another shape or type.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or 0 in picture.shape:
        raise OptionError(
            expected="an RGB picture (height, width, 3) of uint8", found=f"{picture.shape} of {picture.dtype}"
        )
    pixels = resized_crop(picture, settings.resize, settings.height, settings.width)
    if dtype == UINT8:  # whole grey levels, as the resizing leaves them
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.uint8)
    mean, std = np.array(settings.mean), np.array(settings.std)
    with np.errstate(over="ignore"):  # numbers of a file that are none: whoever runs the model sees what comes of it
        normalised = (pixels / 255.0 - mean) / std
        return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None], np.float32)


def resized_crop(picture: Picture, side: int, height: int, width: int) -> NDArray[np.float64]:
    """Return the centre (height, width) of the picture with its short side at ``side`` pixels; values 0..255."""
    short = min(picture.shape[:2])
    rows, columns = (_Line(size, side * size // short, kept) for size, kept in zip(picture.shape[:2], (height, width)))
    needed = rows.source()
    narrowed = columns.resized(picture[needed].swapaxes(0, 1)).swapaxes(0, 1)
    return rows.resized(narrowed, needed.start)


class _Line:
    """The ``kept`` middle pixels of a line of ``size`` pixels that is resized to ``new``.

    Resized by a triangle filter, as wide as a new pixel where it shrinks: ``taps`` (kept, T) are the pixels that each
    is made of, ``weights`` their shares.
    """

    def __init__(self, size: int, new: int, kept: int) -> None:
        first = max(0, round((new - kept) / 2))
        scale = size / new
        support = max(scale, 1.0)
        centres = (np.arange(first, min(first + kept, new)) + 0.5) * scale
        taps = np.floor(centres - support).astype(int)[:, None] + np.arange(int(np.ceil(2 * support)) + 1)
        weights = np.maximum(1.0 - np.abs(taps + 0.5 - centres[:, None]) / support, 0.0)
        weights[(taps < 0) | (taps >= size)] = 0.0
        self.weights = weights / weights.sum(axis=1, keepdims=True)
        self.taps = taps.clip(0, size - 1)

    def source(self) -> slice:
        """Return which pixels the line is made of."""
        return slice(int(self.taps.min()), int(self.taps.max()) + 1)

    def resized(self, pixels: NDArray[Any], start: int = 0) -> NDArray[np.float64]:
        """Return pixels whose first axis is this line, from its pixel ``start`` on, resized to whole grey levels."""
        resized = np.zeros((len(self.taps), *pixels.shape[1:]))
        for i in range(self.taps.shape[1]):
            resized += self.weights[:, i, None, None] * pixels[self.taps[:, i] - start]
        return np.rint(resized, out=resized)


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the probabilities of each row."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


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
        raise InputFileError(expected=f"a picture at {where}", but=f"it cannot be read: {reason}") from error


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
