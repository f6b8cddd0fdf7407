"""Parts, borders and copies of tensors as slices, reshapes and concatenations, which XNNPACK has.

A function returns NotImplemented where XNNPACK has an operator, or none helps; torch then leaves what there is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dcd_deploy.export.executorch.reductions import Made, joined

MOST_FLIPPED = 64


def selected(x: Tensor, dim: int, index: int) -> Tensor:
    """Return x.select(dim, index)."""
    dim %= x.dim()
    return x.narrow(dim, index % x.shape[dim], 1).reshape(*x.shape[:dim], *x.shape[dim + 1 :])


def unbound(x: Tensor, dim: int = 0) -> list[Tensor]:
    """Return x.unbind(dim)."""
    return [selected(x, dim, index) for index in range(x.shape[dim])]


def split(x: Tensor, sizes: int | Sequence[int], dim: int = 0) -> list[Tensor]:
    """Return x.split(sizes, dim)."""
    side = x.shape[dim]
    sizes = [min(sizes, side - start) for start in range(0, side, sizes)] if isinstance(sizes, int) else sizes
    return [x.narrow(dim, sum(sizes[:i]), size) for i, size in enumerate(sizes)]


def sliced(x: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Made:
    """Return each ``step``-th of a side: what lies between are the further columns of rows of ``step``."""
    dim %= x.dim()
    side = x.shape[dim]
    start, end, _ = slice(start, end).indices(side)
    count = -(-(end - start) // step)
    first = min(start, side - count * step)
    if step == 1 or first < 0 or start - first >= step or count < 1:
        return NotImplemented
    spans = x.narrow(dim, first, count * step).reshape(*x.shape[:dim], count, step, *x.shape[dim + 1 :])
    return selected(spans, dim + 1, start - first)


def padded(x: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Made:  # noqa: ARG001
    """Return F.pad(x, pad, mode): beside what there is, copies of columns, then of rows."""
    if mode == "constant":
        return NotImplemented
    for dim, (before, behind) in enumerate(zip(pad[::2], pad[1::2], strict=True), start=1):
        side, along = x.shape[-dim], x.dim() - dim
        source = SOURCES[mode](side)
        first = [x.narrow(along, source(place), 1) for place in range(-before, 0)]
        last = [x.narrow(along, source(place), 1) for place in range(side, side + behind)]
        x = joined([*first, x, *last], along)
    return x


SOURCES: dict[str, Callable[[int], Callable[[int], int]]] = {
    "reflect": lambda side: lambda place: abs(place) if place < side else 2 * (side - 1) - place,
    "replicate": lambda side: lambda place: min(max(place, 0), side - 1),
    "circular": lambda side: lambda place: place % side,
}


def flipped(x: Tensor, dims: Sequence[int]) -> Made:
    """Return x.flip(dims), of sides that are not large."""
    if any(x.shape[dim] > MOST_FLIPPED for dim in dims):
        return NotImplemented
    for dim in dims:
        x = joined([x.narrow(dim, place, 1) for place in reversed(range(x.shape[dim]))], dim)
    return x.reshape(x.shape)


def rolled(x: Tensor, shifts: Sequence[int], dims: Sequence[int] = ()) -> Made:
    """Return x.roll(shifts, dims)."""
    if not dims:
        return NotImplemented
    for shift, dim in zip(shifts, dims, strict=True):
        side = x.shape[dim]
        if last := shift % side:
            x = torch.cat([x.narrow(dim, side - last, last), x.narrow(dim, 0, side - last)], dim)
    return x.reshape(x.shape)


def repeated(x: Tensor, repeats: Sequence[int]) -> Made:
    """Return x.repeat(repeats)."""
    if min(repeats) < 1 or not x.dtype.is_floating_point:
        return NotImplemented
    x = x.reshape(*(1,) * (len(repeats) - x.dim()), *x.shape)
    for dim, times in enumerate(repeats):
        copies = [x]
        for _ in range(1, times):
            copies.append(copies[-1] * 1.0)  # XNNPACK joins no tensor with itself
        x = joined(copies, dim)
    return x.reshape(x.shape)


def shuffled(x: Tensor, upscale_factor: int) -> Tensor:
    """Return F.pixel_shuffle(x); torch's own way copies it into the order that x has in memory."""
    *rest, channels, height, width = x.shape
    r = upscale_factor
    cells = x.reshape(-1, channels // r**2, r, r, height, width).permute(0, 1, 4, 2, 5, 3)
    return cells.reshape(*rest, channels // r**2, height * r, width * r)


def unshuffled(x: Tensor, downscale_factor: int) -> Tensor:
    """Return F.pixel_unshuffle(x)."""
    *rest, channels, height, width = x.shape
    r = downscale_factor
    cells = x.reshape(-1, channels, height // r, r, width // r, r).permute(0, 1, 3, 5, 2, 4)
    return cells.reshape(*rest, channels * r**2, height // r, width // r)


def expanded(x: Tensor, size: Sequence[int], *, implicit: bool = False) -> Made:  # noqa: ARG001
    """Return x where it has the size already."""
    same = len(size) == x.dim() and all(wanted in (-1, side) for wanted, side in zip(size, x.shape, strict=True))
    return x.view(x.shape) if same else NotImplemented


def with_one(x: Tensor, dim: int) -> Tensor:
    """Return x.unsqueeze(dim)."""
    dim %= x.dim() + 1
    return x.reshape(*x.shape[:dim], 1, *x.shape[dim:])


def without_one(x: Tensor, dim: int | Sequence[int]) -> Tensor:
    """Return x.squeeze(dim)."""
    gone = {axis % x.dim() for axis in ([dim] if isinstance(dim, int) else dim)}
    return x.reshape([side for axis, side in enumerate(x.shape) if axis not in gone or side != 1])
