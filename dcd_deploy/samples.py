"""Pictures that make a dynamic network show what it does: unlike each other in light, colour, contrast and detail.

A network whose branch is frozen to its first input passes any one-input test. These pictures differ enough to move Φ
and λ; ``export.reference`` measures that they did. They need numpy alone, so that a model can check itself with them
in an app.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Union

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from dcd_deploy.artifacts import FLOAT32, UINT8, Preprocessing
from dcd_deploy.errors import InputFileError, OptionError, shown
from dcd_deploy.files import existing_file

COUNT = 4
LARGEST_HEADER = 4096  # of a .npy file
GREY, SPREAD = 0.45, 0.25  # of pixels; they standardise pictures that have no preprocessing of their own
MOST_VALUES = 1 << 27  # of one sample: a file that claims more is not believed

Images = NDArray[Union[np.float32, np.uint8]]
Inputs = tuple[Images, ...]
Pixels = NDArray[np.float64]


@dataclass(frozen=True)
class InputSpec:
    """An input of a network: its name, the shape of one sample as torch has it, and the size of its numbers.

    Samples of three dimensions (C, H, W) are pictures, whose numbers are standardised whatever ``scale`` says; of
    ``dtype`` "uint8" they are raw bytes.
    """

    name: str
    shape: tuple[int, ...]
    scale: float = 1.0
    dtype: str = FLOAT32


def generated_inputs(
    inputs: Sequence[InputSpec], preprocessing: Preprocessing | None, count: int = COUNT, contrast: float = 1.0
) -> Inputs:
    """Return ``count`` samples of every input, the same on every machine; ``preprocessing`` is that of the first.

    Raises:
        OptionError: a sample has more values than any real one.
    """
    for each in inputs:
        if math.prod(each.shape) > MOST_VALUES:
            raise OptionError(
                expected=f"inputs of at most {MOST_VALUES} values", found=f"{each.shape} of '{each.name}'"
            )
    made = [_samples(each, np.random.Philox(i), count, contrast) for i, each in enumerate(inputs)]
    if inputs[0].dtype == UINT8:
        made[0] = raw_pictures(inputs[0].shape, count, contrast)
    elif preprocessing is not None:
        made[0] = verification_inputs(preprocessing, count, contrast)
    return tuple(made)


def _samples(each: InputSpec, bits: np.random.Philox, count: int, contrast: float) -> Images:
    if len(each.shape) != 3:
        numbers = np.stack([_normal(bits, *each.shape) for _ in range(count)])  # the first are the same of any count
        return (contrast * each.scale * numbers).astype(np.float32)
    standardised: Images = ((_pictures(bits, count, each.shape, contrast) - GREY) / SPREAD).astype(np.float32)
    return standardised


def _normal(bits: np.random.Philox, *shape: int) -> Pixels:
    """Return numbers that are normal enough, of unit variance: sums alone give the same bits on every machine."""
    numbers: Pixels = sum((_uniform(bits, *shape) for _ in range(4)), np.zeros(shape)) / 2
    return numbers


def verification_inputs(preprocessing: Preprocessing, count: int = COUNT, contrast: float = 1.0) -> Images:
    """Return ``count`` normalised pictures (count, 3, height, width), the same on every machine.

    A ``contrast`` below one draws them all towards grey. Only raw bits of the generator are used, which numpy
    promises to keep.
    """
    shape = (3, preprocessing.height, preprocessing.width)
    pixels = _pictures(np.random.Philox(0), count, shape, contrast)
    mean, std = np.array(preprocessing.mean), np.array(preprocessing.std)
    normalised: Images = ((pixels - mean[:, None, None]) / std[:, None, None]).astype(np.float32)
    return normalised


def raw_pictures(shape: tuple[int, ...], count: int = COUNT, contrast: float = 1.0) -> NDArray[np.uint8]:
    """Return the pictures of ``verification_inputs`` before they are normalised, rounded to bytes (count, C, H, W)."""
    return np.rint(255.0 * _pictures(np.random.Philox(0), count, shape, contrast)).astype(np.uint8)


def _pictures(bits: np.random.Philox, count: int, shape: tuple[int, ...], contrast: float) -> Pixels:
    """Return pixels (count, C, height, width) around 0..1."""
    pixels = np.stack([PAINTERS[i % len(PAINTERS)](bits, *shape) for i in range(count)])
    drawn: Pixels = GREY + contrast * (pixels.clip(0.0, 1.0) - GREY)
    return drawn


def _texture(bits: np.random.Philox, channels: int, height: int, width: int) -> Pixels:
    """Fine detail in all colours."""
    smooth = _smooth(bits, channels, height, width, 16)
    return GREY + 0.2 * smooth + 0.12 * _uniform(bits, channels, height, width)


def _lit_object(bits: np.random.Philox, channels: int, height: int, width: int) -> Pixels:
    """A bright spot on dark ground."""
    y, x = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)
    spot = np.exp(-(((y - 0.4) / 0.15) ** 2) - ((x - 0.55) / 0.2) ** 2)
    return 0.12 + 0.08 * _smooth(bits, channels, height, width, 4) + 0.8 * spot


def _silhouette(bits: np.random.Philox, channels: int, height: int, width: int) -> Pixels:
    """Black and white shapes with hard edges."""
    shape = (_smooth(bits, channels, height, width, 3)[:1] > 0.2).astype(np.float64)
    return shape + 0.05 * _uniform(bits, channels, height, width)


def _colour(bits: np.random.Philox, channels: int, height: int, width: int) -> Pixels:
    """One strong colour, with little on it."""
    ground = GREY + 0.3 * _uniform(bits, channels, 1, 1)
    smooth = _smooth(bits, channels, height, width, 2)
    return ground + 0.1 * smooth + 0.03 * _uniform(bits, channels, height, width)


PAINTERS: tuple[Callable[[np.random.Philox, int, int, int], Pixels], ...] = (
    _texture,
    _lit_object,
    _silhouette,
    _colour,
)


def _smooth(bits: np.random.Philox, channels: int, height: int, width: int, cells: int) -> Pixels:
    """Return values (C, height, width) that pass smoothly through ``cells`` random ones along each side."""
    knots = _uniform(bits, channels, cells + 1, cells + 1)
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


def inputs_from_file(path: str | Path, shape: tuple[int, ...], dtype: str = FLOAT32) -> Images:
    """Return the samples of a ``.npy`` file (n, *shape); of "uint8" they are to be bytes there.

    Raises:
        InputFileError: it is no such file, or holds fewer than two samples or something else than finite numbers.
    """
    path = existing_file(path, "a .npy file of pictures")
    try:
        with path.open("rb") as file:
            images = read_array(file, path.stat().st_size, "fiu")
    except Exception as error:  # numpy's parser raises whatever wrong bytes make it
        reason = shown(str(error), 200) or type(error).__name__
        raise InputFileError(
            expected=f"a .npy file of numbers at '{path}'",
            but=f"it cannot be read: {reason}",
            advice="save one array with numpy.save",
        ) from error
    if images.ndim != 1 + len(shape) or images.shape[1:] != shape or len(images) < 2:
        raise InputFileError(
            expected=f"at least two pictures of shape {shape} in '{path}'", found=f"shape {images.shape}"
        )
    if not np.isfinite(images).all():
        raise InputFileError(expected=f"finite numbers in '{path}'", found="NaN or infinity")
    if dtype == UINT8 and images.dtype != np.uint8:
        raise InputFileError(expected=f"raw bytes (uint8) in '{path}', as `input_` uint8 takes", found=images.dtype)
    return np.ascontiguousarray(images, dtype)


def read_array(file: IO[bytes], size: int, kinds: str) -> NDArray[Any]:
    """Return the array of a .npy file of ``size`` bytes, whose numbers are of one of numpy's ``kinds``.

    What its header says is held against the size before anything is made.

    Raises:
        ValueError, or what numpy's parser raises: it is none, or of another kind or size.
    """
    start = io.BytesIO(file.read(LARGEST_HEADER))
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(start)]
    shape, fortran, dtype = read(start, max_header_size=LARGEST_HEADER)
    if dtype.kind not in kinds or not shape:
        raise ValueError(f"it is no array (N, …) of numbers, but {shape} of {dtype}")
    if start.tell() + math.prod(shape) * dtype.itemsize != size:
        raise ValueError("it has not the size that its header says")
    content = bytearray(start.read() + file.read())  # what torch makes of it may be written to
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
