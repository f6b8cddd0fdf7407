"""Means, sums and maxima over axes that XNNPACK has no operator for, by windows; and what is made of them.

A mean is the pooling of a map by a window as large, once the axes lie side by side. A function returns NotImplemented
where XNNPACK has an operator, or none helps; torch then leaves what there is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

MAP = 4  # dimensions
Axes = int | Sequence[int] | None
Made = Any  # a tensor, or NotImplemented
Pooling = Callable[[Tensor, tuple[int, int]], Tensor]


def mean(x: Tensor, dim: Axes, keepdim: bool = False, *, dtype: Any = None) -> Made:  # noqa: FBT001, FBT002
    """Return x.mean(dim, keepdim), not over samples, unless it is of the pixels of a map."""
    if dtype is not None or _is_of_pixels(x, dim):
        return NotImplemented
    return _pooled(F.avg_pool2d, x, dim, keepdim=keepdim)


def total(x: Tensor, dim: Axes, keepdim: bool = False, *, dtype: Any = None) -> Made:  # noqa: FBT001, FBT002
    """Return x.sum(dim, keepdim), not over samples."""
    axes = _axes(x, dim)
    if dtype is not None or 0 in axes or not x.dtype.is_floating_point:
        return NotImplemented
    return _pooled(F.avg_pool2d, x, dim, keepdim=keepdim) * float(math.prod(x.shape[axis] for axis in axes))


def largest(x: Tensor, dim: Axes = (), keepdim: bool = False) -> Made:  # noqa: FBT001, FBT002
    """Return x.amax(dim, keepdim), not over samples."""
    return _pooled(F.max_pool2d, x, dim or None, keepdim=keepdim)


def smallest(x: Tensor, dim: Axes = (), keepdim: bool = False) -> Made:  # noqa: FBT001, FBT002
    """Return x.amin(dim, keepdim), not over samples."""
    found = largest(-x, dim, keepdim)
    return found if found is NotImplemented else -found


def largest_alone(x: Tensor, dim: int, keepdim: bool = False) -> Made:  # noqa: FBT001, FBT002
    """Return x.max(dim, keepdim) where nobody reads the indices."""
    found = largest(x, dim, keepdim)
    return found if found is NotImplemented else (found, found)


def smallest_alone(x: Tensor, dim: int, keepdim: bool = False) -> Made:  # noqa: FBT001, FBT002
    """Return x.min(dim, keepdim) where nobody reads the indices."""
    found = smallest(x, dim, keepdim)
    return found if found is NotImplemented else (found, found)


def length(
    x: Tensor,
    ord: float = 2,  # noqa: A002 - torch's name
    dim: Axes = None,
    keepdim: bool = False,  # noqa: FBT001, FBT002 - torch's order
    *,
    dtype: Any = None,
) -> Made:
    """Return the Euclidean length along axes, not over samples."""
    if ord != 2:
        return NotImplemented
    found = total(x * x, dim, keepdim, dtype=dtype)
    return found if found is NotImplemented else torch.sqrt(found)


def variance(x: Tensor, dim: Axes = None, *, correction: float | None = None, keepdim: bool = False) -> Made:
    """Return x.var(dim, correction=correction), not over samples."""
    axes = _axes(x, dim)
    if 0 in axes:
        return NotImplemented
    count = math.prod(x.shape[axis] for axis in axes)
    centred = x - _pooled(F.avg_pool2d, x, axes, keepdim=True)
    found = _pooled(F.avg_pool2d, centred * centred, axes, keepdim=keepdim)
    return found * (count / max(count - (1 if correction is None else correction), 0)) if correction != 0 else found


def deviation(x: Tensor, dim: Axes = None, *, correction: float | None = None, keepdim: bool = False) -> Made:
    """Return x.std(dim, correction=correction), not over samples."""
    found = variance(x, dim, correction=correction, keepdim=keepdim)
    return found if found is NotImplemented else torch.sqrt(found)


def log_sum(x: Tensor, dim: Axes, keepdim: bool = False) -> Made:  # noqa: FBT001, FBT002
    """Return x.logsumexp(dim, keepdim), not over samples."""
    if 0 in _axes(x, dim):
        return NotImplemented
    most = largest(x, dim, keepdim=True)
    found = most + torch.log(total(torch.exp(x - most), dim, keepdim=True))
    return found if keepdim else found.reshape([side for axis, side in enumerate(x.shape) if axis not in _axes(x, dim)])


def log_softmax(x: Tensor, dim: int, dtype: Any = None) -> Made:
    """Return log(softmax(x)) along an axis."""
    if dtype is not None or dim % x.dim() == 0:
        return NotImplemented
    below = x - largest(x, dim, keepdim=True)
    return below - torch.log(total(torch.exp(below), dim, keepdim=True))


def layer_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,  # noqa: ARG001, FBT001, FBT002 - torch's order
) -> Made:
    """Return the norm of a module that is kept whole; others are spelled out before (``lowering.xnnpack.norms``)."""
    axes = list(range(-len(normalized_shape), 0))
    centred = x - mean(x, axes, keepdim=True)
    found = centred * torch.rsqrt(mean(centred * centred, axes, keepdim=True) + eps)
    found = found if weight is None else found * weight
    return found if bias is None else found + bias


def adaptive_average(x: Tensor, output_size: Sequence[int]) -> Made:
    """Return F.adaptive_avg_pool2d of cells of several sizes: the mean of each span of rows, then of columns."""
    if all(side % cells == 0 for side, cells in zip(x.shape[-2:], output_size, strict=True)) or x.dim() != MAP:
        return NotImplemented
    for dim, cells in ((2, output_size[0]), (3, output_size[1])):
        side = x.shape[dim]
        spans = [(side * cell // cells, -(-side * (cell + 1) // cells)) for cell in range(cells)]
        means = [
            F.avg_pool2d(x.narrow(dim, start, end - start), (end - start, 1) if dim == 2 else (1, end - start))
            for start, end in spans
        ]
        x = joined(means, dim)
    return x


def average(
    x: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,  # noqa: FBT001, FBT002
    count_include_pad: bool = True,  # noqa: FBT001, FBT002
    divisor_override: int | None = None,
) -> Made:
    """Return F.avg_pool2d: a border of zeros is put there before; ``ceil_mode`` goes where it makes no window more."""
    (high, wide), steps = _pair(kernel_size), _pair(stride or kernel_size)
    (top, left) = _pair(padding)
    rests = [
        (side + 2 * border - window) % step
        for side, border, window, step in zip(x.shape[-2:], (top, left), (high, wide), steps, strict=True)
    ]
    counted = count_include_pad and (top or left)
    if divisor_override is not None or (ceil_mode and any(rests)) or not (ceil_mode or counted):
        return NotImplemented
    if not counted:
        return F.avg_pool2d(x, (high, wide), steps, (top, left), count_include_pad=count_include_pad)
    return F.avg_pool2d(F.pad(x, (left, left, top, top)), (high, wide), steps)


MOST_JOINED = 5


def joined(parts: Sequence[Tensor], dim: int) -> Tensor:
    """Return tensors side by side, of which XNNPACK takes five at a time."""
    first, *others = parts
    for at in range(0, len(others), MOST_JOINED - 1):
        first = torch.cat([first, *others[at : at + MOST_JOINED - 1]], dim)
    return first


def _pair(value: Sequence[int]) -> tuple[int, int]:
    return (value[0], value[-1])


def _pooled(pooling: Pooling, x: Tensor, dim: Axes, *, keepdim: bool) -> Made:
    axes = _axes(x, dim)
    if 0 in axes:
        return NotImplemented
    others = [axis for axis in range(x.dim()) if axis not in axes]
    count = math.prod(x.shape[axis] for axis in axes)
    sides = [1 if axis in axes else side for axis, side in enumerate(x.shape) if keepdim or axis not in axes]
    if axes[-1] == x.dim() - 1:  # each row lies there as a row of a map of one channel
        rows = x.permute(*others, *axes).reshape(x.shape[0], 1, -1, count)
        return pooling(rows, (1, count)).reshape(sides)
    columns = x.permute(*others, *axes).reshape(x.shape[0], -1, count, 1)  # as they lie in the delegate, channels last
    return pooling(columns, (count, 1)).reshape(sides)


def _axes(x: Tensor, dim: Axes) -> list[int]:
    given = range(x.dim()) if dim is None or dim == [] else [dim] if isinstance(dim, int) else dim
    return sorted(axis % x.dim() for axis in given)


def _is_of_pixels(x: Tensor, dim: Axes) -> bool:
    return x.dim() == MAP and _axes(x, dim) == [2, 3]
