"""The kernel order for onnxruntime's own blocks of channels (NCHWc), which its optimiser never gives to such a layer.

    x ⋆ W + b(x),     Wᵀ by columns, a row of values of outputs for each input channel, or tap of a depthwise layer

    1×1 with a low-rank term, or scaled inputs    (C, K)
    1×1 otherwise                                 (K/16, C, 16)
    depthwise                                     (taps, K)

On x86 onnxruntime convolves in blocks of 8 or 16 channels, but moves only convolutions with constant weights there;
those with computed weights cost a pass to leave the blocks, a slower convolution, and a pass to come back.
``export.onnx.in_blocks`` moves these too. What it needs of the layer are channels in multiples of the larger block,
padded by zeros where there are others, average pooling by windows, and the kernel transposed, which is the order that
the runtime's own reordering takes. A bank of kernels lies in blocks of 16 outputs in the file, so that reordering what
is mixed of it reads and writes in a row: with AVX-512 it is a copy, with blocks of 8 every 16 values become two times
8.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.dynamic.operator import INPUTS, ConvGeometry, DynamicOperator
from dcd_deploy.dynamic.shape import LOW_RANK, MapSize, OperatorShape, shape_of
from dcd_deploy.lowering.assemble import terms as costs
from dcd_deploy.lowering.assemble.activations import phi_by_columns, plain
from dcd_deploy.lowering.assemble.attention import Bias
from dcd_deploy.lowering.assemble.enlarged import padded
from dcd_deploy.lowering.assemble.kernel import Kernel
from dcd_deploy.lowering.assemble.windows import without_copies
from dcd_deploy.lowering.channels_first.attention import ChannelsFirstAttention
from dcd_deploy.lowering.channels_first.kernel import ChannelsFirstKernel
from dcd_deploy.lowering.layers import linear_of
from dcd_deploy.lowering.lowering import KNOWN, Cost, Lowering

BLOCK = 16  # channels in the largest block, that of AVX-512
SMALL_BLOCK = 8  # that of every other x86-64 processor


def aligned(channels: int, block: int = BLOCK) -> int:
    """Return the number of channels rounded up to whole blocks."""
    return -(-channels // block) * block


def same_in_both_blocks(channels: int) -> bool:
    """Whether a map fills up to the same number of channels in blocks of 8 and of 16; one of 8 or 24 does not."""
    return aligned(channels, SMALL_BLOCK) == aligned(channels)


class NchwcLowering(Lowering):
    """A dynamic convolution in the kernel order, in blocks of channels; (N, C, H, W) to (N, K, H', W')."""

    name: ClassVar[str] = "nchwc"
    only_for: ClassVar[tuple[str, ...] | None] = ("onnxruntime-x86",)
    everywhere: ClassVar[bool] = False
    batches: ClassVar[str] = KNOWN

    def __init__(self, operator: DynamicOperator, size: MapSize) -> None:
        super().__init__(operator, size)
        g = self.geometry = operator.geometry
        self.plain = None
        if not self.suits(shape_of(operator)):
            self.plain = ChannelsFirstKernel(operator, size)
            return
        wide = padded(without_copies(plain(operator), size), aligned(g.C), aligned(g.K))
        if wide.bias is None:  # which the convolution in blocks always has
            wide = replace(wide, bias=torch.zeros(aligned(g.K), dtype=torch.float64))
        turned = phi_by_columns(wide)
        self.attention = ChannelsFirstAttention(turned, size, by_windows=True)
        self.kernel = Kernel(replace(turned, geometry=as_ordered(wide.geometry, shape_of(wide))), columns=True)
        self.shift = Bias(wide, linear_of, columns=True)
        self.applied = Grouped(wide.geometry)

    def forward(self, x: Tensor, operand: Tensor | None = None) -> Tensor:
        if self.plain is not None:
            y: Tensor = self.plain(x, operand)
            return y
        x = F.pad(x, (0, 0, 0, 0, 0, aligned(self.geometry.C) - self.geometry.C))
        values = self.attention(x if operand is None else operand)
        kernel = self.kernel(values.heads, values.phi)
        y = self.applied(x, kernel.view(-1, *kernel.shape[-2:]), self.shift(values.heads, values.stages))
        return y[:, : self.geometry.K]

    @classmethod
    def suits(cls, shape: OperatorShape) -> bool:
        """Only for 1×1 and depthwise: other kernels are ordered by blocks of their inputs too, and are left plain."""
        g = shape.geometry
        depthwise = g.depthwise and g.padding_mode == "zeros" and g.dilation == (1, 1) and not scales_inputs(shape)
        return (g.pointwise and not g.vector) or depthwise

    @classmethod
    def cost(cls, shape: OperatorShape, size: MapSize, *, activated: bool) -> Cost:
        """Return what a layer costs."""
        del activated  # fused
        g, latent = shape.geometry, shape.latent
        inputs, outputs = aligned(g.C), aligned(g.K)
        weights = outputs * (g.taps if g.depthwise else inputs)
        inner, outer = sorted((weights // outputs, outputs))  # P Φ Q is made from its smaller side
        of_low_rank = latent * (3 * inner + outer)
        around = Cost(inner * latent**2, latent * weights, g.C * size.inputs, weights, of_low_rank, 3)
        return costs.added(costs.kernel(shape, size, weights, outputs), around)


def scales_inputs(shape: OperatorShape) -> bool:
    """Whether a head scales the kernel's inputs."""
    return any(name == INPUTS for name, _, _ in shape.heads)


def as_ordered(g: ConvGeometry, shape: OperatorShape) -> ConvGeometry:
    """Return the geometry whose kernel by columns has the same numbers as that of ``g``, in the order they go in.

    The kernel of a depthwise layer is that of a dense one with one input; that of a 1×1 layer is that of as many groups
    as there are blocks of outputs, of which each reads all inputs.
    """
    if g.depthwise:
        return replace(g, C=1, groups=1)
    if LOW_RANK in shape.terms or scales_inputs(shape):
        return g
    blocks = g.K // BLOCK
    return replace(g, C=g.C * blocks, groups=blocks)


class Grouped(nn.Module):
    """Convolve each sample of x (N, C, H, W) by its own kernel, by columns (N·parts, R, K/parts), and a bias (N, K).

    R is C for a 1×1 kernel, and its taps for a depthwise one. N samples are N groups of one. It is a module so that
    its place in the network tells it from the operators that compute the kernel.
    """

    def __init__(self, g: ConvGeometry) -> None:
        super().__init__()
        self.geometry = g

    def forward(self, x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        g, (n, _, height, width) = self.geometry, x.shape
        weights = kernel.transpose(1, 2).reshape(-1, g.C // g.groups, *g.kernel)  # (N·K, C/g, kh, kw)
        if bias.dim() == 1:  # one for all
            bias = bias.expand(n, -1)
        x = x.view(1, -1, height, width)
        y = F.conv2d(x, weights, bias.reshape(-1), g.stride, g.padding, groups=n * g.groups)
        return y.view(n, -1, *y.shape[2:])
