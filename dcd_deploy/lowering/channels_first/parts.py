"""What several lowerings are made of."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.dynamic.operator import ConvGeometry, LowRank, RowScaled
from dcd_deploy.dynamic.shape import MapSize, OperatorShape
from dcd_deploy.lowering.layers import conv_of
from dcd_deploy.lowering.lowering import Cost

LAID_OUT = (
    7  # floats, in the time that a multiply-add of a depthwise convolution takes more than a dense one (measured)
)


def per_sample_conv1x1(x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """Apply to each sample of x (N, C, H, W) its own kernel (N, K, C) and a bias (K) or (N, K); (N, K, H, W).

    Weights that depend on the sample make a batched matmul, (N, K, C)·(N, C, H·W), which is right at any batch size. A
    batch of one is also a convolution with computed weights, which runtimes fuse with what follows it.
    """
    if x.shape[0] == 1:
        return F.conv2d(x, kernel.view(*kernel.shape[1:], 1, 1), None if bias is None else bias.view(-1))
    y = torch.matmul(kernel, x.flatten(2))
    if bias is not None:
        y = y + bias.view(-1, kernel.shape[1], 1)
    return y.view(y.shape[0], y.shape[1], *x.shape[2:])


def every_pixel(x: Tensor, g: ConvGeometry, size: MapSize) -> Tensor:
    """Return the pixels of a map that a 1×1 convolution of the layer's stride reads, as many as the output has."""
    rows, columns = g.stride
    if g.stride == (1, 1) and (size.in_height, size.in_width) == (size.out_height, size.out_width):
        return x
    return x[:, :, : rows * (size.out_height - 1) + 1 : rows, : columns * (size.out_width - 1) + 1 : columns]


class ChannelsFirstApplied(nn.Module):
    """Convolve x by W0, or by computed weights: the convolution that the static twin has too.

    It is a module, without weights of its own, so that its place in the network tells it from the operators that
    compute the kernel.
    """

    def __init__(self, g: ConvGeometry) -> None:
        super().__init__()
        self.geometry = g

    def forward(self, x: Tensor, kernel: Tensor, bias: Tensor | None, *, by_sample: bool = False) -> Tensor:
        """Convolve by one kernel (K, C/g, kh, kw) and bias (K) or none.

        ``by_sample``, x is patches (N, C·taps, H', W'), a kernel is (N, K, R) or (N, g, K/g, R), a bias (N, K) or (K).
        """
        g = self.geometry
        if by_sample:
            return per_sample_conv1x1(x, kernel, bias) if g.groups == 1 else _per_group(x, kernel, bias)
        if g.padding_mode == "zeros":
            return F.conv2d(x, kernel, bias, g.stride, g.padding, g.dilation, g.groups)
        (rows, columns), mode = g.padding, g.padding_mode
        return F.conv2d(F.pad(x, (columns, columns, rows, rows), mode), kernel, bias, g.stride, 0, g.dilation, g.groups)


def _per_group(patches: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    n, _, height, width = patches.shape
    _, groups, outputs, inputs = kernel.shape
    y = torch.matmul(kernel, patches.reshape(n, groups, inputs, height * width))
    y = y.reshape(n, groups * outputs, height, width)
    return y if bias is None else y + bias.reshape(-1, groups * outputs, 1, 1)


class Patches(nn.Module):
    """The pixels under each position of the kernel: (N, C, H, W) to (N, C·taps, H', W'), channel-major.

    They are made by one depthwise convolution with constant weights, a tap for each output.
    """

    def __init__(self, g: ConvGeometry) -> None:
        super().__init__()
        taps = torch.eye(g.taps, dtype=torch.float64).view(g.taps, 1, *g.kernel).repeat(g.C, 1, 1, 1)
        self.conv = conv_of(taps, None, g.stride, g.padding, g.C, g.dilation, g.padding_mode)

    def forward(self, x: Tensor) -> Tensor:
        patches: Tensor = self.conv(x)
        return patches


class StaticAndQuery(nn.Module):
    """x ↦ W0 * x + b0 (N, K, H', W') and Q x + t1 (N, L, H', W'), or None: one convolution where both are 1×1."""

    def __init__(self, static: RowScaled | None, low_rank: LowRank | None, g: ConvGeometry, size: MapSize) -> None:
        super().__init__()
        self.size = size
        self.joint = self.static = self.query = None
        if g.pointwise and static is not None and low_rank is not None:
            query, query_bias = low_rank.query[:, :, None, None], low_rank.query_shift
            bias = None
            if static.bias is not None or query_bias is not None:
                bias = torch.cat([_zeros(static.bias, static.weight), _zeros(query_bias, query)])
            self.joint = conv_of(torch.cat([static.weight, query]), bias, g.stride)
            self.outputs = [g.K, low_rank.latent]
            return
        if static is not None:
            self.static = static_conv(static, g)
        if low_rank is not None:
            self.query = conv_of(low_rank.query[:, :, None, None], low_rank.query_shift, g.stride)

    def forward(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        if self.joint is not None:
            static, query = torch.split(self.joint(x), self.outputs, dim=1)
            return static, query
        return self._static(x), None if self.query is None else cropped(self.query(x), self.size)

    def _static(self, x: Tensor) -> Tensor | None:
        return None if self.static is None else self.static(x)


def static_conv(term: RowScaled, g: ConvGeometry) -> nn.Conv2d:
    """Return the convolution by W0, with its bias."""
    return conv_of(term.weight, term.bias, g.stride, g.padding, g.groups, g.dilation, g.padding_mode)


def depthwise_in_plain(shape: OperatorShape, size: MapSize) -> Cost:
    """Return what one depthwise convolution costs more in the plain layout: x86 lays out the pixels under each tap.

    In the branch order its weights are constant, and it is quick in blocks; but those are not on all machines, and
    each of its outputs leaves them.
    """
    macs = shape.kernel_size * size.outputs if shape.geometry.depthwise else 0
    return Cost(0, 0, 0, LAID_OUT * macs, 0, 0)


def cropped(x: Tensor, size: MapSize) -> Tensor:
    """Return as many pixels of a map as the output has."""
    if x.shape[2:] == (size.out_height, size.out_width):
        return x
    return x[:, :, : size.out_height, : size.out_width]


def _zeros(bias: Tensor | None, weight: Tensor) -> Tensor:
    return weight.new_zeros(len(weight)) if bias is None else bias


def total(summands: Sequence[Tensor]) -> Tensor:
    """Return the sum of one or more."""
    return functools.reduce(torch.add, summands)
