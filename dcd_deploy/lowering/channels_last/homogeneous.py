"""The kernel order in homogeneous coordinates, channels last: (x, 1) Wᵀ, with the bias as the kernel's last row.

BATCH_MATMUL takes no bias; to add one is a pass over the layer's output. A channel of ones is a pass over its input,
which in a widening layer is six times smaller.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from dcd_deploy.dynamic.operator import FILTERS, INPUTS, TAPS, DynamicOperator
from dcd_deploy.dynamic.shape import LOW_RANK, MIXTURE, MapSize, OperatorShape, shape_of
from dcd_deploy.lowering.assemble import terms as costs
from dcd_deploy.lowering.assemble.activations import phi_by_columns, with_relu6
from dcd_deploy.lowering.assemble.enlarged import homogeneous
from dcd_deploy.lowering.channels_last.assembled import ColumnsKernel
from dcd_deploy.lowering.channels_last.attention import ChannelsLastAttention
from dcd_deploy.lowering.channels_last.kernel import ChannelsLastKernel
from dcd_deploy.lowering.channels_last.parts import ChannelsLastApplied
from dcd_deploy.lowering.layers import frozen
from dcd_deploy.lowering.lowering import Cost, Lowering


class HomogeneousLowering(Lowering):
    """A dynamic 1×1 convolution whose bias is part of its kernel; (N, H, W, C) to (N, H, W, K)."""

    name: ClassVar[str] = "homogeneous"
    only_for: ClassVar[tuple[str, ...] | None] = ("litert",)

    def __init__(self, operator: DynamicOperator, size: MapSize) -> None:
        super().__init__(operator, size)
        layer = homogeneous(with_relu6(operator)) if self.suits(shape_of(operator)) else None
        self.plain = ChannelsLastKernel(operator, size) if layer is None else None
        if layer is None:
            return
        layer = phi_by_columns(layer)
        of_x = replace(layer, geometry=operator.geometry)
        self.attention = ChannelsLastAttention(of_x, size)
        self.ones = frozen(torch.ones(1, size.in_height, size.in_width, 1, dtype=torch.float64))
        self.kernel = ColumnsKernel(layer)
        self.applied = ChannelsLastApplied()

    def forward(self, x: Tensor, operand: Tensor | None = None) -> Tensor:
        y: Tensor
        if self.plain is not None:
            y = self.plain(x, operand)
            return y
        heads, _, phi = self.attention(x if operand is None else operand)
        kernel = self.kernel(heads, phi)  # (N, 1, C + 1, K)
        y = self.applied(torch.cat([x, self.ones.expand(x.shape[0], -1, -1, -1)], 3), kernel)
        return y

    @classmethod
    def suits(cls, shape: OperatorShape) -> bool:
        """Only for 1×1, where a term has the bias."""
        g = shape.geometry
        scaled = {FILTERS, INPUTS, TAPS} & {name for name, _, _ in shape.heads}
        one_by_one = g.pointwise and g.stride == (1, 1) and not g.vector
        return one_by_one and (LOW_RANK in shape.terms or (MIXTURE in shape.terms and not scaled))

    @classmethod
    def cost(cls, shape: OperatorShape, size: MapSize, *, activated: bool) -> Cost:
        """Return what a layer costs."""
        g, latent = shape.geometry, shape.latent + 1
        inputs, squeezed = g.C + 1, costs.squeezed(shape)
        x, y, weights = g.C * size.inputs, g.K * size.outputs, g.K * inputs
        low_rank = costs.NOTHING
        if LOW_RANK in shape.terms:
            more = squeezed * (latent**2 - shape.latent**2)
            unshifted = -squeezed * g.K
            low_rank = Cost(
                more + unshifted + latent * weights,
                inputs * latent**2,
                0,
                0,
                more + unshifted + latent * (3 * inputs + g.K),
                0,
            )
        around = Cost(0, y, 3 * x + 2 * y * activated, 0, 0, 0)  # pooling, the channel of ones; the clamp
        return costs.added(costs.kernel(shape, size, weights, g.K), low_rank, around)
