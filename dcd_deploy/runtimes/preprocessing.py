"""From a picture to the input tensor, with numpy alone, as the published evaluation does it.

Resize the short side (bilinear, averaging when it shrinks), crop the centre, scale to 0..1, normalise, channels
first. The resizing is that of Pillow and torchvision to within one grey level. Only the pixels that the crop keeps are
computed: whatever a picture's proportions and a file's sizes are, that takes memory for the picture and the crop.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.artifacts import FLOAT32, UINT8, Preprocessing
from dcd_deploy.errors import OptionError

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
