"""From a picture to the input tensor, with numpy alone, as the published evaluation does it.

Resize the short side (bilinear, averaging when it shrinks), crop the centre, scale to 0..1, normalise, channels
first. The resizing is that of Pillow and torchvision to within one grey level.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.artifacts import Preprocessing
from dcd_deploy.errors import OptionError

Picture = NDArray[np.uint8]


def preprocess(picture: Picture, settings: Preprocessing) -> NDArray[np.float32]:
    """Return the tensor (1, 3, height, width) of an RGB picture (H, W, 3) uint8.

    Raises:
        OptionError: the picture has another shape or type.
    """
    if not isinstance(picture, np.ndarray):
        raise OptionError(
            expected="an RGB picture as an array (height, width, 3) of uint8",
            found=type(picture).__name__,
            advice="read a file with dcd_deploy.runtimes.pictures.read_picture",
        )
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or 0 in picture.shape:
        raise OptionError(
            expected="an RGB picture (height, width, 3) of uint8", found=f"{picture.shape} of {picture.dtype}"
        )
    pixels = centre_crop(resize_short_side(picture, settings.resize), settings.height, settings.width)
    mean, std = np.array(settings.mean), np.array(settings.std)
    normalised = (pixels / 255.0 - mean) / std
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None], np.float32)


def resize_short_side(picture: Picture, side: int) -> NDArray[np.float64]:
    """Return the picture with its short side at ``side`` pixels, its proportions kept; values 0..255."""
    height, width = picture.shape[:2]
    short = min(height, width)
    new_height, new_width = (side * height // short, side * width // short)
    narrowed = _resize_rows(picture.swapaxes(0, 1), new_width).swapaxes(0, 1)
    return _resize_rows(narrowed, new_height)


def centre_crop(pixels: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Return the centre (height, width) of the picture."""
    top, left = round((pixels.shape[0] - height) / 2), round((pixels.shape[1] - width) / 2)
    return pixels[top : top + height, left : left + width]


def _resize_rows(pixels: NDArray[Any], new_size: int) -> NDArray[np.float64]:
    """Resize the first axis by a triangle filter, as wide as a new pixel where it shrinks, to whole grey levels."""
    size = pixels.shape[0]
    scale = size / new_size
    support = max(scale, 1.0)
    centres = (np.arange(new_size) + 0.5) * scale
    first = np.floor(centres - support).astype(int)
    taps = first[:, None] + np.arange(int(np.ceil(2 * support)) + 1)  # (new_size, taps)
    weights = np.maximum(1.0 - np.abs(taps + 0.5 - centres[:, None]) / support, 0.0)
    weights[(taps < 0) | (taps >= size)] = 0.0
    weights /= weights.sum(axis=1, keepdims=True)
    taps = taps.clip(0, size - 1)
    resized = np.zeros((new_size, *pixels.shape[1:]))
    for i in range(taps.shape[1]):
        resized += weights[:, i, None, None] * pixels[taps[:, i]]
    return np.rint(resized, out=resized)


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the probabilities of each row."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return probabilities
