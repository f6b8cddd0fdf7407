"""The kernel order for onnxruntime's own blocks of channels (NCHWc), which its optimiser never gives to such a layer.

    x ⋆ W + b(x),     Wᵀ by columns, a row of K values for each input channel

On x86 onnxruntime convolves in blocks of 8 or 16 channels, but moves only convolutions with constant weights there;
those with computed weights cost a pass to leave the blocks, a slower convolution, and a pass to come back.
``export.in_blocks`` moves these too. What it needs of the layer are channels in multiples of the larger block, padded
by zeros where there are others, average pooling by windows, and the kernel transposed, which is the order that the
runtime's own reordering takes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.dynamic.operator import DynamicOperator
from dcd_deploy.dynamic.shape import MapSize, OperatorShape, shape_of
from dcd_deploy.lowering.assemble import costs
from dcd_deploy.lowering.assemble.activations import phi_by_columns, plain
from dcd_deploy.lowering.assemble.bias import Bias
from dcd_deploy.lowering.assemble.kernel import Kernel
from dcd_deploy.lowering.assemble.padded import padded
from dcd_deploy.lowering.assemble.windows import without_copies
from dcd_deploy.lowering.channels_first.attention import Attention
from dcd_deploy.lowering.channels_first.kernel import KernelLowering
from dcd_deploy.lowering.layers import linear_of
from dcd_deploy.lowering.lowering import Cost, Lowering

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
    free_batch: ClassVar[bool] = False

    def __init__(self, operator: DynamicOperator, size: MapSize) -> None:
        super().__init__(operator, size)
        g = self.geometry = operator.geometry
        self.plain = None
        if not self.suits(shape_of(operator)):
            self.plain = KernelLowering(operator, size)
            return
        wide = padded(without_copies(plain(operator), size), aligned(g.C), aligned(g.K))
        if wide.bias is None:  # which the convolution in blocks always has
            wide = replace(wide, bias=torch.zeros(aligned(g.K), dtype=torch.float64))
        turned = phi_by_columns(wide)
        self.attention = Attention(turned, size, by_windows=True)
        self.kernel = Kernel(turned, columns=True)
        self.shift = Bias(wide, linear_of, columns=True)
        self.applied = Grouped(g.stride)

    def forward(self, x: Tensor, operand: Tensor | None = None) -> Tensor:
        if self.plain is not None:
            y: Tensor = self.plain(x, operand)
            return y
        x = F.pad(x, (0, 0, 0, 0, 0, aligned(self.geometry.C) - self.geometry.C))
        values = self.attention(x if operand is None else operand)
        kernel = self.kernel(values.heads, values.phi)
        kernel = kernel[None] if x.shape[0] == 1 else kernel
        y = self.applied(x, kernel, self.shift(values.heads, values.stages))
        return y[:, : self.geometry.K]

    @classmethod
    def suits(cls, shape: OperatorShape) -> bool:
        """Only for 1×1: larger kernels are ordered by blocks of their inputs too, and are left in the plain layout."""
        return shape.geometry.pointwise and not shape.geometry.vector

    @classmethod
    def cost(cls, shape: OperatorShape, size: MapSize, *, activated: bool) -> Cost:
        """Return what a layer costs."""
        del activated  # fused
        g, latent = shape.geometry, shape.latent
        inputs, outputs = aligned(g.C), aligned(g.K)
        weights = inputs * outputs
        of_low_rank = latent * (inputs + 3 * outputs)
        around = Cost(outputs * latent**2, latent * weights, g.C * size.inputs, weights, of_low_rank, 3)
        return costs.added(costs.kernel(shape, size, weights, outputs), around)


class Grouped(nn.Module):
    """Convolve each sample of x (N, C, H, W) by its own 1×1 kernel, Wᵀ (N, C, K), and a bias (N, K).

    N samples are N groups of one. It is a module so that its place in the network tells it from the operators that
    compute the kernel.
    """

    def __init__(self, stride: tuple[int, int]) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        weights = kernel.transpose(1, 2).reshape(-1, channels, 1, 1)  # (N·K, C, 1, 1)
        if bias.dim() == 1:  # one for all
            bias = bias.expand(n, -1)
        y = F.conv2d(x.view(1, -1, height, width), weights, bias.reshape(-1), self.stride, groups=n)
        return y.view(n, -1, *y.shape[2:])
