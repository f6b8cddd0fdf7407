"""Pooling as torch has it, on maps (N, H, W, C).

TFLite pools with its own padding, in which nothing outside the map counts, or without; any other padding is put around
the map before.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dcd_deploy.lowering.channels_last import operators
from dcd_deploy.lowering.channels_last.padding import LOWEST, Around, pad_map, same_around
from dcd_deploy.lowering.channels_last.reference import Pair


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
