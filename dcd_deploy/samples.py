"""Pictures that make a dynamic network show what it does: unlike each other in light, colour, contrast and detail.

A network whose branch is frozen to its first input passes any one-input test. These pictures differ enough to move Φ
and λ; ``export.reference`` measures that they did. They need numpy alone, so that a model can check itself with them
in an app.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.artifacts import Preprocessing
from dcd_deploy.errors import InputFileError
from dcd_deploy.files import existing_file

COUNT = 4
GREY = 0.45

Images = NDArray[np.float32]
Pixels = NDArray[np.float64]


def verification_inputs(preprocessing: Preprocessing, count: int = COUNT, contrast: float = 1.0) -> Images:
    """Return ``count`` normalised pictures (count, 3, height, width), the same on every machine.

    A ``contrast`` below one draws them all towards grey. Only raw bits of the generator are used, which numpy
    promises to keep.
    """
    height, width = preprocessing.height, preprocessing.width
    bits = np.random.Philox(0)
    pixels = np.stack([PAINTERS[i % len(PAINTERS)](bits, height, width) for i in range(count)])
    pixels = GREY + contrast * (pixels.clip(0.0, 1.0) - GREY)
    mean, std = np.array(preprocessing.mean), np.array(preprocessing.std)
    normalised: Images = ((pixels - mean[:, None, None]) / std[:, None, None]).astype(np.float32)
    return normalised


def _texture(bits: np.random.Philox, height: int, width: int) -> Pixels:
    """Fine detail in all colours."""
    return GREY + 0.2 * _smooth(bits, height, width, 16) + 0.12 * _uniform(bits, 3, height, width)


def _lit_object(bits: np.random.Philox, height: int, width: int) -> Pixels:
    """A bright spot on dark ground."""
    y, x = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)
    spot = np.exp(-(((y - 0.4) / 0.15) ** 2) - ((x - 0.55) / 0.2) ** 2)
    return 0.12 + 0.08 * _smooth(bits, height, width, 4) + 0.8 * spot


def _silhouette(bits: np.random.Philox, height: int, width: int) -> Pixels:
    """Black and white shapes with hard edges."""
    shape = (_smooth(bits, height, width, 3)[:1] > 0.2).astype(np.float64)
    return shape + 0.05 * _uniform(bits, 3, height, width)


def _colour(bits: np.random.Philox, height: int, width: int) -> Pixels:
    """One strong colour, with little on it."""
    ground = GREY + 0.3 * _uniform(bits, 3, 1, 1)
    return ground + 0.1 * _smooth(bits, height, width, 2) + 0.03 * _uniform(bits, 3, height, width)


PAINTERS: tuple[Callable[[np.random.Philox, int, int], Pixels], ...] = (_texture, _lit_object, _silhouette, _colour)


def _smooth(bits: np.random.Philox, height: int, width: int, cells: int) -> Pixels:
    """Return values (3, height, width) that pass smoothly through ``cells`` random ones along each side."""
    knots = _uniform(bits, 3, cells + 1, cells + 1)
    rows, columns = _weights(height, cells), _weights(width, cells)
    values: Pixels = np.einsum("yi,cij,xj->cyx", rows, knots, columns, optimize=True)
    return values


def _weights(size: int, cells: int) -> Pixels:
    """Return the weights (size, cells + 1) of linear interpolation between evenly spaced knots."""
    positions = np.linspace(0, cells, size)[:, None]
    return np.maximum(1.0 - np.abs(positions - np.arange(cells + 1)), 0.0)


def _uniform(bits: np.random.Philox, *shape: int) -> Pixels:
    """Return numbers in ±√3, which have unit variance."""
    raw = bits.random_raw(int(np.prod(shape))).astype(np.float64).reshape(shape)
    numbers: Pixels = (raw / 2.0**63 - 1.0) * np.sqrt(3.0)
    return numbers


def inputs_from_file(path: str | Path, height: int, width: int) -> Images:
    """Return the normalised pictures of a ``.npy`` file (n, 3, height, width).

    Raises:
        InputFileError: it is no such file, or holds fewer than two pictures or something else than finite numbers.
    """
    path = existing_file(path, "a .npy file of pictures")
    try:
        images = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputFileError(f"expected a .npy file of numbers at '{path}', but it cannot be read: {error}") from error
    wanted = (3, height, width)
    if images.ndim != 4 or images.shape[1:] != wanted or len(images) < 2:
        raise InputFileError(
            f"expected at least two pictures of shape {wanted} in '{path}', found shape {images.shape}"
        )
    if images.dtype.kind not in "fiu" or not np.isfinite(images).all():
        raise InputFileError(
            f"expected finite numbers in '{path}', found {images.dtype} with NaN, infinity or no numbers"
        )
    return np.ascontiguousarray(images, np.float32)
