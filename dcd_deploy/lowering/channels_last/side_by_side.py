"""Depthwise convolutions of many outputs, as several of fewer beside each other.

    x (N, H, W, C) → slices of its channels → a convolution of each → joined

Without XNNPACK, LiteRT's kernel sums up as many pixels at once as 4,832 numbers hold. Of more outputs that is not one,
and it goes on for ever (tflite-runtime 2.14, ai-edge-litert 2.3).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from dcd_deploy.lowering.layers import conv_of

WIDEST = 4832  # outputs


class SideBySide(nn.Module):
    """Modules on as many ``channels`` each of a map's ``axis``."""

    def __init__(self, modules: list[nn.Module], channels: list[int], axis: int) -> None:
        super().__init__()
        self.each, self.channels, self.axis = nn.ModuleList(modules), channels, axis

    def forward(self, x: Tensor) -> Tensor:
        slices = torch.split(x, self.channels, self.axis)
        return torch.cat([module(part) for module, part in zip(self.each, slices, strict=True)], self.axis)


def convolving(conv: nn.Conv2d, make: Callable[[nn.Conv2d], nn.Module], axis: int) -> nn.Module:
    """Return what ``make`` makes of a convolution, or of its parts; ``axis`` is where its map has the channels."""
    if not 1 < conv.groups == conv.in_channels or conv.out_channels <= WIDEST:
        return make(conv)
    parts = list(_parts(conv))
    return SideBySide([make(part) for part in parts], [part.in_channels for part in parts], axis)


def _parts(conv: nn.Conv2d) -> Iterator[nn.Conv2d]:
    multiplier = conv.out_channels // conv.in_channels
    outputs = max(1, WIDEST // multiplier) * multiplier
    biases = itertools.repeat(None) if conv.bias is None else torch.split(conv.bias, outputs)
    for weight, bias in zip(torch.split(conv.weight, outputs), biases, strict=False):
        groups = len(weight) // multiplier
        padding = conv.padding if isinstance(conv.padding, str) else (conv.padding[0], conv.padding[1])
        yield conv_of(weight, bias, conv.stride, padding, groups, conv.dilation, conv.padding_mode)
