"""Pooling as torch has it, on maps (N, H, W, C), and the padding of maps.

TFLite pools with its own padding, in which nothing outside the map counts, or without; any other padding is put around
the map before. Averages over parts that overlap, and interpolation of every kind, mix the rows of a map by one constant
matrix and its columns by another, where TFLite has no operator for them:

    y = R x Cᵀ     R (H', H), C (W', W)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.dynamic.operator import Pair
from dcd_deploy.lowering.channels_last import operators
from dcd_deploy.lowering.channels_last.operators import batch_matmul
from dcd_deploy.lowering.channels_last.reference import pair, same_padding
from dcd_deploy.lowering.layers import frozen

Around = tuple[int, int, int, int]  # rows above and below, columns left and right
# padding mode → which of ``size`` pixels lies at a position outside
SOURCES: dict[str, Callable[[int, int], int]] = {
    "reflect": lambda position, size: size - 1 - abs(size - 1 - abs(position)),
    "replicate": lambda position, size: min(max(position, 0), size - 1),
    "circular": lambda position, size: position % size,
}
LOWEST = torch.finfo(torch.float32).min  # what a file can hold; less than any value of a network


def symmetric(padding: int | tuple[int, ...]) -> Around:
    """Return the padding that is the same on opposite sides, from torch's number or pair."""
    rows, columns = pair(padding)
    return rows, rows, columns, columns


def same_around(x: Tensor, kernel: Pair, stride: Pair, dilation: Pair = (1, 1)) -> Around:
    """Return what TFLite's padding "SAME" adds around a map."""
    rows = same_padding(x.shape[1], kernel[0], stride[0], dilation[0])
    return (*rows, *same_padding(x.shape[2], kernel[1], stride[1], dilation[1]))


def pad_map(x: Tensor, around: Around, value: float = 0.0, mode: str = "constant") -> Tensor:
    """Return the map padded by a value, or by its own pixels: "reflect", "replicate" or "circular"."""
    top, bottom, left, right = around
    if mode == "constant":
        return F.pad(x, (0, 0, left, right, top, bottom), value=value)
    return _taken(_taken(x, 1, (top, bottom), mode), 2, (left, right), mode)


def _taken(x: Tensor, axis: int, around: Pair, mode: str) -> Tensor:
    """Return x with its own slices before and behind."""
    size = int(x.shape[axis])
    order = [SOURCES[mode](position, size) for position in range(-around[0], size + around[1])]
    runs = _runs(order)
    return x if len(runs) == 1 else torch.cat([x.narrow(axis, start, length) for start, length in runs], axis)


def _runs(order: list[int]) -> list[Pair]:
    """Return the stretches (start, length) of consecutive positions that an order consists of."""
    runs: list[Pair] = []
    for position in order:
        if runs and position == sum(runs[-1]):
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((position, 1))
    return runs


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


@dataclass(frozen=True)
class Windows:
    """The windows of a pooling; ``ceil``: those too that begin inside and end outside."""

    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)
    ceil: bool = False

    def around(self, x: Tensor) -> Around:
        """Return what has to be around a map (N, H, W, C) so that all windows lie inside."""
        return (*self.beside(int(x.shape[1]), 0), *self.beside(int(x.shape[2]), 1))

    def beside(self, size: int, side: int) -> Pair:
        kernel, stride, padding = self.kernel[side], self.stride[side], self.padding[side]
        if not self.ceil:
            return padding, padding
        count = -(-(size + 2 * padding - kernel) // stride) + 1
        if (count - 1) * stride >= size + padding:  # it would begin in the padding behind
            count -= 1
        return padding, max((count - 1) * stride + kernel - padding - size, 0)

    @property
    def of_one(self) -> bool:
        """Whether each value is a window of its own, and pooling changes nothing."""
        return self.kernel == self.stride == (1, 1)

    def same(self, x: Tensor) -> bool:
        """Whether TFLite's own padding is the one asked for."""
        return any(self.around(x)) and self.around(x) == same_around(x, self.kernel, self.stride)


class MaxPool(nn.Module):
    """The largest value of each window; ``positive``: the map is nowhere negative, and zeros around it lose."""

    def __init__(self, windows: Windows, *, positive: bool = False) -> None:
        super().__init__()
        self.windows, self.positive = windows, positive

    def forward(self, x: Tensor) -> Tensor:
        w = self.windows
        if w.same(x):
            return operators.max_pool_2d(x, w.kernel, w.stride, same=True)
        if any(around := w.around(x)):
            x = pad_map(x, around, 0.0 if self.positive else LOWEST)
        return x if w.of_one else operators.max_pool_2d(x, w.kernel, w.stride)


class AveragePool(nn.Module):
    """The average of each window; ``inside``: what lies outside the map does not count.

    Where torch divides by another number than the window's size, a map of constants makes up for it.
    """

    def __init__(self, windows: Windows, *, inside: bool = False, divisor: int | None = None) -> None:
        super().__init__()
        self.windows, self.inside, self.divisor = windows, inside, divisor

    def forward(self, x: Tensor) -> Tensor:
        w = self.windows
        if self.inside and self.divisor is None and w.same(x):
            return operators.average_pool_2d(x, w.kernel, w.stride, same=True)
        correction = self._correction(x)
        if any(around := w.around(x)):
            x = pad_map(x, around)
        pooled = x if w.of_one else operators.average_pool_2d(x, w.kernel, w.stride)
        return pooled if correction is None else pooled * correction

    def _correction(self, x: Tensor) -> Tensor | float | None:
        """Return the window's size over what torch divides by: (1, H', W', 1), or one number for all."""
        w, size = self.windows, self.windows.kernel[0] * self.windows.kernel[1]
        if self.divisor is not None:
            return None if self.divisor == size else size / self.divisor
        if not any(w.around(x)) or (not self.inside and not w.ceil):
            return None
        rows, columns = (_counted(w, side, int(x.shape[1 + side]), inside=self.inside) for side in (0, 1))
        if rows == [w.kernel[0]] * len(rows) and columns == [w.kernel[1]] * len(columns):
            return None
        counts = torch.tensor(rows, dtype=x.dtype)[:, None] * torch.tensor(columns, dtype=x.dtype)
        return (size / counts)[None, :, :, None]


def _counted(windows: Windows, side: int, size: int, *, inside: bool) -> list[int]:
    """Return how many rows, or columns, of each window count."""
    kernel, stride, padding = windows.kernel[side], windows.stride[side], windows.padding[side]
    before, behind = windows.beside(size, side)
    count = (size + before + behind - kernel) // stride + 1
    first, last = (0, size) if inside else (-padding, size + padding)
    starts = [i * stride - padding for i in range(count)]
    return [min(start + kernel, last) - max(start, first) for start in starts]
