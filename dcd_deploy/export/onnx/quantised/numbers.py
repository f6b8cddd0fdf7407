"""The number formats: maps in uint8 with a zero point, weights in int8 without, each output channel with its scale.

    map      x ≈ s (q − z),  q in 0..255;  the range always holds 0, which pads
    weight   w ≈ s_k q,      q in ±127, or ±63 where x86 may lack VNNI

An x86 without VNNI adds two products of uint8 and int8 in 16 bits (vpmaddubsw): 2 · 255 · 64 are the most that fit.
Which x86 a file will run on nobody knows when it is made, so that all but files for ARM keep to 7 bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization.quant_utils import compute_scale_zp

from dcd_deploy.export.rounding import SILENT, Values


@dataclass(frozen=True)
class MapFormat:
    """Scale and zero point of a map in uint8."""

    scale: np.float32
    zero: np.uint8


def map_format(low: float, high: float) -> MapFormat:
    """Return the format of a map whose values are in so far a range."""
    least, most = np.array(min(low, 0.0), np.float32), np.array(max(high, 0.0), np.float32)
    zero, scale = compute_scale_zp(least, most, np.array(0, np.uint8), np.array(255, np.uint8))
    return MapFormat(np.float32(scale), np.uint8(zero))


def weight_scales(largest: Values, bits: int) -> Values:
    """Return the scale of each channel whose largest absolute weight is given.

    Training and pruning silence channels: no weight is left, or hardly one, but a bias may be.
    """
    scales: Values = largest / np.float32(2 ** (bits - 1) - 1)
    return np.maximum(scales, (scales.max() or np.float32(1)) * np.float32(SILENT))


def quantised_weights(weights: Values, bits: int) -> tuple[NDArray[np.int8], Values]:
    """Return weights (K, …) in int8, and their scales (K)."""
    rows = weights.reshape(len(weights), -1)
    scales = weight_scales(np.abs(rows).max(axis=1), bits)
    most = 2 ** (bits - 1) - 1
    numbers = np.clip(np.rint(rows / scales[:, None]), -most, most).astype(np.int8)
    return numbers.reshape(weights.shape), scales


def quantised_bias(bias: Values, scales: NDArray[np.floating]) -> NDArray[np.int32]:
    """Return a bias (K) in steps of the products, s_x s_k."""
    limits = np.iinfo(np.int32)
    return np.clip(np.rint(bias.astype(np.float64) / scales), limits.min, limits.max).astype(np.int32)
