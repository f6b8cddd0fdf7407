"""The kernel order, channels last: patches of x times Wᵀ, one matrix for each sample, + b(x).

TFLite has no convolution with computed weights. A 1×1 layer is a product as it is. A k×k layer of which the dynamic
part is one tap keeps W0 as a constant convolution, scaled by λ, and multiplies every stride-th pixel; any other takes
the pixels under its kernel apart first (``layers.patches``), and a depthwise one scales and adds them up tap by
tap.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from dcd_deploy.dynamic.operator import SCALE, ConvGeometry, DynamicOperator, LowRank, RowScaled
from dcd_deploy.dynamic.shape import LOW_RANK, MIXTURE, ROW_SCALED, MapSize, OperatorShape, shape_of
from dcd_deploy.lowering.assemble import terms as costs
from dcd_deploy.lowering.assemble.activations import phi_by_columns, with_relu6
from dcd_deploy.lowering.assemble.attention import Bias
from dcd_deploy.lowering.assemble.terms import separable
from dcd_deploy.lowering.assemble.windows import without_copies
from dcd_deploy.lowering.channels_last.assembled import ColumnsKernel
from dcd_deploy.lowering.channels_last.attention import ChannelsLastAttention
from dcd_deploy.lowering.channels_last.layers import every_pixel, patches, static_conv
from dcd_deploy.lowering.channels_last.operators import batch_matmul
from dcd_deploy.lowering.channels_last.parts import ChannelsLastApplied, dense
from dcd_deploy.lowering.lowering import Cost, Lowering


class AppliedToPatches(nn.Module):
    """Convolve a map (N, H, W, C) by computed kernels (N, g, C/g·taps, K/g).

    The static twin does so by constant ones. It is a module so that its place in the network tells it from the
    operators that compute the kernel.
    """

    def __init__(self, g: ConvGeometry) -> None:
        super().__init__()
        self.geometry = g
        self.patches = None if g.taps == 1 and g.padding == (0, 0) and g.stride == (1, 1) else patches(g)

    def forward(self, x: Tensor, kernel: Tensor) -> Tensor:
        g = self.geometry
        pixels = x if self.patches is None else self.patches(x)
        if g.groups == 1:
            return batch_matmul(pixels, kernel)
        if g.depthwise:
            return self._tap_by_tap(pixels, kernel)
        size = g.C // g.groups * g.taps
        groups = [batch_matmul(pixels[..., i * size : (i + 1) * size], kernel[:, i : i + 1]) for i in range(g.groups)]
        return torch.cat(groups, 3)

    def _tap_by_tap(self, pixels: Tensor, kernel: Tensor) -> Tensor:
        g = self.geometry
        n, height, width, _ = pixels.shape
        weighed = pixels.reshape(n, height, width, g.C, g.taps) * kernel.reshape(-1, 1, 1, g.C, g.taps)
        return weighed.sum(4)


class ChannelsLastKernel(Lowering):
    """A dynamic convolution in the kernel order; (N, H, W, C) to (N, H', W', K)."""

    name: ClassVar[str] = "kernel"

    def __init__(self, operator: DynamicOperator, size: MapSize) -> None:
        super().__init__(operator, size)
        by_rows = without_copies(with_relu6(operator), size)
        operator = phi_by_columns(by_rows)
        g = operator.geometry
        self.attention = ChannelsLastAttention(operator, size)
        self.shift = Bias(by_rows, dense, columns=True)
        self.static = self.kernel = self.pixels = None
        if g.vector or g.pointwise or not separable(shape_of(operator)):
            self.kernel = ColumnsKernel(operator)
            at_once = g.vector or (g.pointwise and g.stride == (1, 1))
            self.applied: nn.Module = ChannelsLastApplied() if at_once else AppliedToPatches(g)
            return
        if (row_scaled := operator.term(RowScaled)) is not None:
            self.static = static_conv(replace(row_scaled, bias=None), g)
        if (low_rank := operator.term(LowRank)) is not None:
            one_tap = ConvGeometry(g.C, g.K)
            self.kernel = ColumnsKernel(replace(operator, geometry=one_tap, terms=(low_rank,)))
            self.pixels = every_pixel(g, size)

    def forward(self, x: Tensor, operand: Tensor | None = None) -> Tensor:
        heads, stages, phi = self.attention(x if operand is None else operand)
        bias: Tensor | None = self.shift(heads, stages)
        kernel = None if self.kernel is None else self.kernel(heads, phi)
        static: Tensor | None = None if self.static is None else self.static(x) * heads[SCALE]
        if kernel is None:
            assert static is not None
            return static if bias is None else static + bias
        product: Tensor = self.applied(x, kernel) if self.pixels is None else batch_matmul(self.pixels(x), kernel)
        if bias is not None:
            product = product + bias
        return product if static is None else static + product

    @classmethod
    def suits(cls, shape: OperatorShape) -> bool:
        """Where a product is all that it takes: TFLite has no convolution with computed weights."""
        g = shape.geometry
        return MIXTURE in shape.terms or (g.pointwise and not g.vector)

    @classmethod
    def cost(cls, shape: OperatorShape, size: MapSize, *, activated: bool) -> Cost:
        """Return what a layer costs."""
        g, latent = shape.geometry, shape.latent
        x, y = g.C * size.inputs, g.K * size.outputs
        around = Cost(0, 0, x + 2 * y * activated, 0, 0, 0)  # pooling; the clamp
        if not g.pointwise and separable(shape):
            return costs.added(costs.attention(shape), _term_by_term(shape, size), around)
        inputs = g.C * g.taps
        low_rank = Cost(latent * shape.kernel_size, inputs * latent**2, 0, 0, latent * (3 * inputs + g.K), 0)
        taken_apart = 0 if g.pointwise else inputs * size.outputs  # by a convolution by ones and zeros
        patches = Cost(taken_apart * g.taps, 0, 2 * taken_apart + 2 * y, 0, 0, taken_apart > 0)
        return costs.added(costs.kernel(shape, size, shape.kernel_size, g.K), low_rank, patches, around)


def _term_by_term(shape: OperatorShape, size: MapSize) -> Cost:
    g, latent = shape.geometry, shape.latent
    y, matrix, shift = g.K * size.outputs, g.K * g.C, costs.squeezed(shape) * g.K
    parts = []
    if ROW_SCALED in shape.terms:
        parts.append(Cost(shape.kernel_size * size.outputs, 0, 2 * y, 0, shape.kernel_size, 2))
    if LOW_RANK in shape.terms:
        computed = g.C * latent**2 + matrix * size.outputs
        weights = shift + latent * (3 * g.C + g.K) + 5 * matrix
        parts.append(Cost(shift + latent * matrix, computed, 6 * y, 0, weights, 5))
    return costs.added(*parts)
