"""Padding of maps (N, H, W, C)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from dcd_deploy.lowering.channels_last.reference import Pair, pair, same_padding

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
