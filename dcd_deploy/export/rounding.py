"""Weights as they are stored small, and the numbers that they stand for.

    float16   w' = half(w)
    int8      w' = s · q,  q in −127..127,  s = max|w| / n of each slice along one axis,  n in 112..127

The n of a slice is the one that rounds with the least error: which numbers fall near a step is chance, and the best of
16 tries leaves less noise than n = 127 alone. The largest number is exact. A scale s has 17 significant bits, rounded
up, so that s · q (7 bits more) is exact in float32: every runtime computes the same weights, in whatever order, and
what was rounded once is rounded again to itself. So weights are rounded in the deploy form, before it is traced, and
the finished file is stored small without any further change: ``encoded`` finds the q and s of numbers that ``rounded``
gave, wherever an exporter has moved or transposed them.

The axis is the one that rounds with the least error: the output channels of a convolution, as a rule. Small tensors
stay as they are: below ``SMALLEST`` numbers, what is saved (3 bytes a number, at most) goes into the scales, nodes and
names. So do vectors (biases, shifts of norms): they are 0.4 % of MobileNetV2-DCD, and are added to what is summed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.artifacts import FLOAT16

AT_ONCE = 1 << 15  # numbers that a cache holds
SMALLEST = 512  # numbers of a tensor that is stored small
LEAST_SERVED = 8  # numbers that a scale serves, at least
FEWEST, STEPS = 112, 127  # of the largest number of a slice
SINGLE_BITS, SCALE_BITS = 24, 17  # of float32; of a scale, less the 7 of q
LAST_BIT = 2.0**-22  # two roundings of a number to float32
SLOPES = (1 / 6,)  # of the HardSigmoid that ``portable.hard_sigmoid`` folds into the weights before it
HALF_LARGEST, HALF_NORMAL = 65504.0, 2.0**-14
SILENT = 2.0**-12  # of the largest step of a layer: in less, 32 bits may not hold the bias of a silenced channel
TINIEST, LARGEST = 2.0**-100, 2.0**120  # weights beyond them, which no network has, leave no room for a scale

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Encoded:
    """Numbers q as they are stored, int8 or float16; of int8 also the scales, along ``axis``."""

    numbers: NDArray[Any]
    scale: Values | None = None
    axis: int = 0

    def decoded(self) -> Values:
        """Return the weights that they stand for."""
        values = self.numbers.astype(np.float32)
        return values if self.scale is None else values * along(self.scale, self.axis, values.ndim)

    @property
    def size_bytes(self) -> int:
        """What the numbers and scales take."""
        return self.numbers.nbytes + (0 if self.scale is None else self.scale.nbytes)


def along(scale: Values, axis: int, dimensions: int) -> Values:
    """Return the scales in a shape that multiplies a tensor of so many dimensions along ``axis``."""
    return scale.reshape([-1 if i == axis else 1 for i in range(dimensions)])


def is_large(values: NDArray[Any]) -> bool:
    """Whether a tensor is worth storing small: floats, many, and no vector."""
    matrix = sum(side > 1 for side in values.shape) > 1
    if values.dtype != np.float32 or values.size < SMALLEST or not matrix:
        return False
    return bool(TINIEST <= np.abs(values).max() <= LARGEST)


def rounded(values: Values, weights: str, excess: float = 1.0) -> Values:
    """Return the nearest numbers that can be stored as ``weights``; small tensors as they are.

    In int8 along another axis, where that takes fewer bytes and no more than ``excess`` times the squared error.
    """
    if not is_large(values):
        return values
    if weights == FLOAT16:
        return _half(values).astype(np.float32) if _suits_half(values) else values
    tried = [(each.size_bytes, each.decoded()) for each in (_quantised(values, axis) for axis in _axes(values))]
    least = min((_error(values, found) for _, found in tried), default=0.0)
    near = (each for each in tried if _error(values, each[1]) <= excess * least)
    return min(near, key=lambda each: each[0], default=(0, values))[1]


def encoded(values: Values, weights: str) -> Encoded | None:
    """Return ``values`` as ``weights`` stores them; None where that is not possible, or not worth it.

    They are stored exactly, or, where a pass has multiplied them (``SLOPES``), within the last bit of float32.
    """
    if not is_large(values):
        return None
    close: Iterable[Encoded]
    if weights == FLOAT16:
        exact = [Encoded(_half(values))]
        close = [Encoded(_half(values / np.float32(slope)), np.array([slope], np.float32)) for slope in SLOPES]
    else:
        exact = sorted((_quantised(values, axis) for axis in _axes(values)), key=lambda each: each.size_bytes)
        close = (_quantised(values, each.axis, SINGLE_BITS) for each in exact)
    found = (each for each in exact if np.array_equal(each.decoded(), values))
    near = (each for each in close if (np.abs(each.decoded() - values) <= LAST_BIT * np.abs(values)).all())
    return next(found, None) or next(near, None)


def largest_step(weights: str) -> float:
    """Return how far rounding may move a weight, over the largest of its tensor."""
    return 2.0**-11 if weights == FLOAT16 else 0.5 / FEWEST * (1 + 2.0 ** (1 - SCALE_BITS))


def small_bytes(values: NDArray[Any], weights: str, scale_bytes: int) -> int:
    """Return how many bytes a tensor takes at most, stored as ``weights``, where a scale takes ``scale_bytes``."""
    if not is_large(values):
        return int(values.nbytes)
    if weights == FLOAT16:
        return int(values.size) * 2
    scales = max((values.shape[axis] for axis in _axes(values)), default=0)
    return int(values.size) + scales * scale_bytes


def _half(values: Values) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        return values.astype(np.float16)


def _suits_half(values: Values) -> bool:
    """Whether half precision has the range: of tiny numbers alone it would keep few digits."""
    return bool(HALF_NORMAL <= np.abs(values).max() <= HALF_LARGEST)


def _axes(values: Values) -> list[int]:
    return [i for i, side in enumerate(values.shape) if side > 1 and values.size >= LEAST_SERVED * side]


def _quantised(values: Values, axis: int, bits: int = SCALE_BITS) -> Encoded:
    """Round with the scale of each slice that gives the least error; slices of nothing become zeros."""
    slices = np.moveaxis(values, axis, 0)
    rows = slices.reshape(len(slices), -1)
    most = np.abs(rows).max(axis=1)
    largest, exponent = np.frexp(np.where(most < TINIEST, np.float32(1), most))
    single = np.ldexp(rows, -exponent[:, None])  # no square of it vanishes
    scale = np.concatenate([_nearest(*part, bits) for part in _parts(single, largest)])
    numbers = np.moveaxis(np.rint(single / scale[:, None]).reshape(slices.shape), 0, axis)
    return Encoded(np.ascontiguousarray(numbers, np.int8), np.ldexp(scale, exponent), axis)


def _parts(rows: Values, largest: Values) -> Iterator[tuple[Values, Values]]:
    """Yield rows, and the largest number of each, few enough for a cache."""
    number = max(1, AT_ONCE // rows.shape[1])
    return ((rows[i : i + number], largest[i : i + number]) for i in range(0, len(rows), number))


def _nearest(rows: Values, largest: Values, bits: int) -> Values:
    """Return the scales of rows (N) whose largest numbers are 1/2 to 1."""
    scale, least = np.ones_like(largest), np.full(len(rows), np.inf, np.float32)
    for steps in range(STEPS, FEWEST - 1, -1):
        tried = _scale(largest, steps, bits)
        error = np.rint(rows / tried[:, None])
        error *= tried[:, None]
        error -= rows
        found = np.einsum("ij,ij->i", error, error)
        scale, least = np.where(found < least, tried, scale), np.minimum(found, least)
    return scale


def _scale(largest: Values, steps: int, bits: int) -> Values:
    """Return largest / steps, rounded up to so many bits."""
    mantissa, exponent = np.frexp(largest.astype(np.float64) / steps)
    up: Values = np.ldexp(np.ceil(np.ldexp(mantissa, bits)), exponent - bits).astype(np.float32)
    return up


def _error(values: Values, found: Values) -> float:
    return float(np.square(found.astype(np.float64) - values).sum())
