"""What mixes the rows of a map (N, H, W, C) by one constant matrix, and its columns by another.

    y = R x Cᵀ     R (H', H), C (W', W)

Interpolation of every kind is such a map, and so are averages over parts that overlap. TFLite has operators for some.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.lowering.channels_last.operators import batch_matmul
from dcd_deploy.lowering.layers import frozen


class Separable(nn.Module):
    """Mix rows and columns; an axis without a matrix stays as it is."""

    def __init__(self, rows: Tensor | None, columns: Tensor | None) -> None:
        super().__init__()
        self.rows = None if rows is None else frozen(rows[None, None])
        self.columns = None if columns is None else frozen(columns[None, None])

    def forward(self, x: Tensor) -> Tensor:
        n, height, width, channels = x.shape
        if self.rows is not None:
            x = batch_matmul(self.rows, x.reshape(n, 1, height, width * channels))
            x = x.reshape(n, self.rows.shape[2], width, channels)
        return x if self.columns is None else batch_matmul(self.columns, x)


def averaging(size: int, outputs: int) -> Tensor | None:
    """Return the matrix (outputs, size) that averages parts of an axis as torch divides it; None where it stays."""
    if outputs == size:
        return None
    matrix = torch.zeros(outputs, size, dtype=torch.float64)
    for i in range(outputs):
        first, last = i * size // outputs, -(-(i + 1) * size // outputs)
        matrix[i, first:last] = 1 / (last - first)
    return matrix


def interpolating(size: int, outputs: int, factor: float | None, **settings: Any) -> Tensor | None:
    """Return the matrix (outputs, size) by which torch interpolates along an axis; None where it changes nothing.

    ``factor`` is that which torch is given in place of a size; ``settings`` are those of ``interpolate``.
    """
    axis = torch.eye(size, dtype=torch.float64)[None, :, None]  # a channel for each position of a row
    if factor is None:
        mixed = F.interpolate(axis, (1, outputs), **settings)
    else:
        mixed = F.interpolate(axis, scale_factor=(1.0, float(factor)), **settings)
    matrix = mixed[0, :, 0].t()
    assert matrix.shape == (outputs, size)
    return None if torch.equal(matrix, axis[0, :, 0]) else matrix
