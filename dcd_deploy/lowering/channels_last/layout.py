"""How a value of the network lies in the laid-out graph.

PLAIN   as torch has it
LAST    a map (N, C, H, W) as (N, H, W, C)
ROW     a vector (N, C) as (N, 1, 1, C), so that dense layers stay 1×1 convolutions
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import torch
from torch import Tensor, nn


class Layout(Enum):
    """The layouts."""

    PLAIN = "plain"
    LAST = "last"
    ROW = "row"


Shape = tuple[int, ...]
# axis as torch has it → axis in the layout
AXES = {Layout.LAST: (0, 3, 1, 2), Layout.ROW: (0, 3)}
RANKS = {Layout.LAST: 4, Layout.ROW: 2}


def axis_in(layout: Layout, axis: int) -> int:
    """Return where an axis of torch's, which may count from the end, lies in a layout."""
    return axis if layout is Layout.PLAIN else AXES[layout][axis % RANKS[layout]]


def shape_in(layout: Layout, shape: Shape) -> Shape:
    """Return the shape of a value in a layout."""
    if layout is Layout.LAST:
        n, channels, height, width = shape
        return n, height, width, channels
    if layout is Layout.ROW:
        return shape[0], 1, 1, shape[1]
    return shape


def permuted(layout: Layout, values: Sequence[object]) -> tuple[object, ...]:
    """Return what belongs to each axis of a map, which may be fewer than four, in the order of its layout."""
    assert layout is Layout.LAST
    filled = (*values, *(slice(None),) * (4 - len(values)))
    return filled[0], filled[2], filled[3], filled[1]


def logical_size(x: Tensor, layout: str, axis: int | None = None) -> torch.Size | int:
    """Return the size that a value in a layout has for torch, or that along one axis."""
    axes = AXES[Layout(layout)]
    return torch.Size(x.shape[i] for i in axes) if axis is None else x.shape[axes[axis]]


class ToLast(nn.Module):
    """(N, C, H, W) → (N, H, W, C)."""

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[2:]) == (1, 1):
            return x.reshape(-1, 1, 1, x.shape[1])
        return x.permute(0, 2, 3, 1)


class ToFirst(nn.Module):
    """(N, H, W, C) → (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:3]) == (1, 1):
            return x.reshape(-1, x.shape[3], 1, 1)
        return x.permute(0, 3, 1, 2)


class ToRow(nn.Module):
    """(N, C) → (N, 1, 1, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, 1, 1, x.shape[1])


class FromRow(nn.Module):
    """(N, 1, 1, C) → (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


CONVERSIONS: dict[tuple[Layout, Layout], type[nn.Module]] = {
    (Layout.PLAIN, Layout.LAST): ToLast,
    (Layout.LAST, Layout.PLAIN): ToFirst,
    (Layout.PLAIN, Layout.ROW): ToRow,
    (Layout.ROW, Layout.PLAIN): FromRow,
}


def constant_in(layout: Layout, constant: Tensor) -> Tensor:
    """Return a constant that broadcasts against a value in a layout as it does against torch's."""
    if layout is Layout.PLAIN or constant.numel() == 1:
        return constant
    if layout is Layout.ROW:
        return constant if constant.dim() < 2 else constant.reshape(constant.shape[0], 1, 1, constant.shape[1])
    return constant.reshape((1,) * (4 - constant.dim()) + tuple(constant.shape)).permute(0, 2, 3, 1).contiguous()
