"""Weights as they are stored small, and the numbers that they stand for.

    float16   w' = half(w)
    int8      w' = s · q,  q in −127..127,  s = max|w| / 127 of each slice along one axis

A scale s has 17 significant bits, rounded up, so that s · q (7 bits more) is exact in float32: every runtime computes
the same weights, in whatever order, and what was rounded once is rounded again to itself. So weights are rounded in the
deploy form, before it is traced, and the finished file is stored small without any further change: ``encoded`` finds
the q and s of numbers that ``rounded`` gave, wherever an exporter has moved or transposed them.

The axis is the one that rounds with the least error: the output channels of a convolution, as a rule. Small tensors
stay as they are: below ``SMALLEST`` numbers, what is saved (3 bytes a number, at most) goes into the scales, nodes and
names. So do vectors (biases, shifts of norms): they are 0.4 % of MobileNetV2-DCD, and are added to what is summed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.artifacts import FLOAT16

SMALLEST = 512  # numbers of a tensor that is stored small
LEAST_SERVED = 8  # numbers that a scale serves, at least
STEPS = 127
SINGLE_BITS, SCALE_BITS = 24, 17  # of float32; of a scale, less the 7 of q
LAST_BIT = 2.0**-22  # two roundings of a number to float32
SLOPES = (1 / 6,)  # of the HardSigmoid that ``portable.hard_sigmoid`` folds into the weights before it
HALF_LARGEST, HALF_NORMAL = 65504.0, 2.0**-14
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
    if weights == FLOAT16:
        exact = [Encoded(_half(values))]
        close = [Encoded(_half(values / np.float32(slope)), np.array([slope], np.float32)) for slope in SLOPES]
    else:
        exact = sorted((_quantised(values, axis) for axis in _axes(values)), key=lambda each: each.size_bytes)
        close = [_quantised(values, each.axis, SINGLE_BITS) for each in exact]
    found = (each for each in exact if np.array_equal(each.decoded(), values))
    near = (each for each in close if (np.abs(each.decoded() - values) <= LAST_BIT * np.abs(values)).all())
    return next(found, None) or next(near, None)


def largest_step(weights: str) -> float:
    """Return how far rounding may move a weight, over the largest of its tensor."""
    return 2.0**-11 if weights == FLOAT16 else 0.5 / STEPS * (1 + 2.0 ** (1 - SCALE_BITS))


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
    others = tuple(i for i in range(values.ndim) if i != axis)
    scale = _scale(np.abs(values).max(axis=others), bits)
    numbers = np.rint(values / along(scale, axis, values.ndim))
    return Encoded(np.clip(numbers, -STEPS, STEPS).astype(np.int8), scale, axis)


def _scale(largest: Values, bits: int) -> Values:
    """Return largest / 127, rounded up to so many bits; 1 for slices of nothing, which become zeros."""
    mantissa, exponent = np.frexp(largest.astype(np.float64) / STEPS)
    up = np.ldexp(np.ceil(np.ldexp(mantissa, bits)), exponent - bits)
    return np.where(largest >= TINIEST, up, 1.0).astype(np.float32)


def _error(values: Values, found: Values) -> float:
    return float(np.square(found.astype(np.float64) - values).sum())
