"""Constant layers of torch on maps (N, H, W, C): convolutions of any geometry, and the rest but for pooling."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dcd_deploy.dynamic.operator import ConvGeometry, Pair, RowScaled
from dcd_deploy.dynamic.shape import MapSize
from dcd_deploy.lowering.channels_last import operators
from dcd_deploy.lowering.channels_last.operators import to_channels_first, to_channels_last
from dcd_deploy.lowering.channels_last.parts import Conv
from dcd_deploy.lowering.channels_last.pooling import Around, pad_map
from dcd_deploy.lowering.channels_last.reference import same_padding
from dcd_deploy.lowering.channels_last.side_by_side import convolving
from dcd_deploy.lowering.layers import conv_of, frozen


class Between(nn.Module):
    """A convolution that no operator of channels-last maps does, between two transposes."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = convolving(conv, lambda each: each, axis=1)

    def forward(self, x: Tensor) -> Tensor:
        return to_channels_last(self.conv(to_channels_first(x)))


def on_maps(conv: nn.Conv2d) -> nn.Module:
    """Return a convolution of torch on channels-last maps."""
    plain = conv.groups == 1 or conv.groups == conv.in_channels == conv.out_channels
    square = all(len(set(sizes)) == 1 for sizes in (conv.kernel_size, conv.stride, conv.padding))
    if plain and square and conv.padding_mode == "zeros" and conv.dilation == (1, 1):
        return convolving(conv, Conv, axis=-1)
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


class ConvTranspose(nn.Module):
    """A transposed convolution of torch, of which ``size`` (height, width) is the input's.

    TFLite has neither groups nor dilation here: the kernel has zeros in their place. Its output has no padding, or
    TFLite's own; any other part of it is cut out.
    """

    def __init__(self, conv: nn.ConvTranspose2d, outputs: Pair, size: Pair) -> None:
        super().__init__()
        kernel = _spread(_ungrouped(conv.weight.detach(), conv.groups), conv.dilation)
        self.weight = frozen(kernel.permute(1, 2, 3, 0))  # (C, K, kh, kw) → (K, kh, kw, C)
        self.bias = frozen(conv.weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias)
        self.stride = (conv.stride[0], conv.stride[1])
        self.outputs = outputs
        self.padding = (int(conv.padding[0]), int(conv.padding[1]))
        sides = list(zip(size, outputs, kernel.shape[2:], self.stride, self.padding, strict=True))
        self.same = any(self.padding) and all(
            -(-out // s) == n and same_padding(out, k, s)[0] == p for n, out, k, s, p in sides
        )
        self.whole = tuple(max((n - 1) * s + k, p + out) for n, out, k, s, p in sides)

    def forward(self, x: Tensor) -> Tensor:
        if self.same:
            return operators.transpose_conv(x, self.weight, self.bias, self.stride, self.outputs, same=True)
        whole = (self.whole[0], self.whole[1]) if any(self.padding) else self.outputs
        y = operators.transpose_conv(x, self.weight, self.bias, self.stride, whole)
        if whole == self.outputs:
            return y
        (top, left), (height, width) = self.padding, self.outputs
        return y[:, top : top + height, left : left + width]


def _ungrouped(weight: Tensor, groups: int) -> Tensor:
    """Return the weights (C, K, kh, kw) of one group that do what those of many, (C, K/groups, kh, kw), do."""
    if groups == 1:
        return weight
    inputs, outputs = weight.shape[0] // groups, weight.shape[1]
    whole = weight.new_zeros(weight.shape[0], outputs * groups, *weight.shape[2:])
    for g in range(groups):
        mine = slice(g * inputs, (g + 1) * inputs)
        whole[mine, g * outputs : (g + 1) * outputs] = weight[mine]
    return whole


def _spread(weight: Tensor, dilation: tuple[int, ...]) -> Tensor:
    """Return a kernel with zeros between its taps."""
    rows, columns = ((size - 1) * d + 1 for size, d in zip(weight.shape[2:], dilation, strict=True))
    spread = weight.new_zeros(*weight.shape[:2], rows, columns)
    spread[:, :, :: dilation[0], :: dilation[1]] = weight
    return spread


class Affine(nn.Module):
    """A norm of constants, x ⊙ scale + shift (C), that no layer before it could take in."""

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.scale, self.shift = frozen(scale), frozen(shift)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


class PRelu(nn.Module):
    """x where it is positive, elsewhere x · slope; one slope for each channel."""

    def __init__(self, slope: Tensor, channels: int) -> None:
        super().__init__()
        self.slope = frozen(slope.expand(channels).reshape(1, 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        return operators.prelu(x, self.slope)


class Resize(nn.Module):
    """Interpolate a map to ``size`` (height, width); ``mode`` as torch has it: nearest, nearest-exact, bilinear."""

    def __init__(self, size: Pair, mode: str, *, align_corners: bool = False) -> None:
        super().__init__()
        self.size, self.mode, self.align_corners = size, mode, align_corners

    def forward(self, x: Tensor) -> Tensor:
        if (int(x.shape[1]), int(x.shape[2])) == self.size:
            return x
        if self.mode == "bilinear":
            return operators.resize_bilinear(x, *self.size, align_corners=self.align_corners)
        return operators.resize_nearest_neighbor(x, *self.size, centres=self.mode == "nearest-exact")


class PixelShuffle(nn.Module):
    """(N, H, W, C·r²) → (N, H·r, W·r, C); torch has the channels outside the r² positions."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        n, height, width, channels = x.shape
        r = self.factor
        split = x.reshape(n, height, width, channels // r**2, r, r).permute(0, 1, 4, 2, 5, 3)
        return split.reshape(n, height * r, width * r, channels // r**2)


class PixelUnshuffle(nn.Module):
    """(N, H·r, W·r, C) → (N, H, W, C·r²)."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        n, height, width, channels = x.shape
        r = self.factor
        split = x.reshape(n, height // r, r, width // r, r, channels).permute(0, 1, 3, 5, 2, 4)
        return split.reshape(n, height // r, width // r, channels * r**2)


class Pad(nn.Module):
    """A map with ``around`` (above, below, left, right) and channels before and behind of a value, or of itself."""

    def __init__(self, around: Around, channels: Pair = (0, 0), value: float = 0.0, mode: str = "constant") -> None:
        super().__init__()
        self.around, self.channels, self.value, self.mode = around, channels, value, mode

    def forward(self, x: Tensor) -> Tensor:
        if self.mode != "constant":
            return pad_map(x, self.around, mode=self.mode)
        top, bottom, left, right = self.around
        return torch.nn.functional.pad(x, (*self.channels, left, right, top, bottom), value=self.value)
