"""Constant convolutions on channels-last maps, of any geometry."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dcd_deploy.dynamic.operator import ConvGeometry, RowScaled
from dcd_deploy.dynamic.shape import MapSize
from dcd_deploy.lowering.channels_last.operators import to_channels_first, to_channels_last
from dcd_deploy.lowering.channels_last.parts import Conv
from dcd_deploy.lowering.layers import conv_of


class Between(nn.Module):
    """A convolution that no operator of channels-last maps does, between two transposes."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return to_channels_last(self.conv(to_channels_first(x)))


def on_maps(conv: nn.Conv2d) -> nn.Module:
    """Return a convolution of torch on channels-last maps."""
    plain = conv.groups == 1 or conv.groups == conv.in_channels == conv.out_channels
    square = all(len(set(sizes)) == 1 for sizes in (conv.kernel_size, conv.stride, conv.padding))
    if plain and square and conv.padding_mode == "zeros" and conv.dilation == (1, 1):
        return Conv(conv)
    return Between(conv)


def static_conv(term: RowScaled, g: ConvGeometry) -> nn.Module:
    """Return the convolution by W0, with its bias."""
    return on_maps(conv_of(term.weight, term.bias, g.stride, g.padding, g.groups, g.dilation, g.padding_mode))


def patches(g: ConvGeometry) -> nn.Module:
    """Return the convolution from (N, H, W, C) to the pixels under each position of the kernel (N, H', W', C·taps).

    It is depthwise, with constant weights, a tap for each output; channel-major.
    """
    taps = torch.eye(g.taps, dtype=torch.float64).view(g.taps, 1, *g.kernel).repeat(g.C, 1, 1, 1)
    return on_maps(conv_of(taps, None, g.stride, g.padding, g.C, g.dilation, g.padding_mode))


def every_pixel(g: ConvGeometry, size: MapSize) -> nn.Module:
    """Return a map's pixels that a 1×1 convolution of the layer's stride reads, as many as the output has.

    It is spelled as a depthwise convolution by one, since XNNPACK takes no slice with a stride.
    """
    if g.stride == (1, 1):
        return Cropped(size)
    ones = on_maps(conv_of(torch.ones(g.C, 1, 1, 1, dtype=torch.float64), None, g.stride, 0, g.C))
    return nn.Sequential(ones, Cropped(size))


class Cropped(nn.Module):
    """As many pixels of a map as the output has."""

    def __init__(self, size: MapSize) -> None:
        super().__init__()
        self.sides = (size.out_height, size.out_width)

    def forward(self, x: Tensor) -> Tensor:
        return x if x.shape[1:3] == self.sides else x[:, : self.sides[0], : self.sides[1]]
