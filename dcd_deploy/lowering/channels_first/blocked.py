"""The branch order for a runtime with a blocked layout: maps stay in it, from the layer's input to its output.

    λ ⊙ (W0 * x + b0) + P (Φ (Q x + t1)) + bias

onnxruntime on x86 keeps maps in blocks of channels between convolutions with constant weights, where a depthwise layer
costs half as much. Every other operator costs a pass to leave the blocks and a pass to come back. Within them it has
convolutions with a hard sigmoid, products and sums of equal shapes, and nearest neighbours; so the attention is made
of 1×1 convolutions, λ is spread over the map before it is multiplied, the sum is part of the convolution by P, and
the latent map alone leaves the blocks, to meet Φ.
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from dcd_deploy.dynamic.operator import SCALE, DynamicOperator, LowRank, RowScaled
from dcd_deploy.dynamic.shape import MIXTURE, MapSize, OperatorShape
from dcd_deploy.lowering.assemble import terms as costs
from dcd_deploy.lowering.assemble.activations import plain
from dcd_deploy.lowering.assemble.attention import constant_bias
from dcd_deploy.lowering.assemble.terms import branch_refusal
from dcd_deploy.lowering.channels_first.attention import ConvolutionalAttention
from dcd_deploy.lowering.channels_first.parts import cropped, per_sample_conv1x1, static_conv, total
from dcd_deploy.lowering.layers import conv_of, frozen
from dcd_deploy.lowering.lowering import Cost, Lowering


class BlockedLowering(Lowering):
    """A decomposition in the branch order, in blocks of channels; (N, C, H, W) to (N, K, H', W')."""

    name: ClassVar[str] = "blocked"
    only_for: ClassVar[tuple[str, ...] | None] = ("onnxruntime-x86",)  # elsewhere its spread of λ is a pass too many

    def __init__(self, operator: DynamicOperator, size: MapSize) -> None:
        super().__init__(operator, size)
        operator = plain(operator)
        g, self.size = operator.geometry, size
        self.attention = ConvolutionalAttention(operator, size)
        self.static = self.query = self.project = self.bias = None
        bias = constant_bias(operator)
        if (low_rank := operator.term(LowRank)) is not None:
            self.query = conv_of(low_rank.query[:, :, None, None], low_rank.query_shift, g.stride)
            self.project = conv_of(low_rank.project[:, :, None, None], bias)
        elif bias is not None:
            self.bias = frozen(bias[:, None, None])
        if (row_scaled := operator.term(RowScaled)) is not None:
            self.static = static_conv(row_scaled, g)
        self.spread = (float(size.out_height), float(size.out_width))

    def forward(self, x: Tensor, operand: Tensor | None = None) -> Tensor:
        heads, _, phi = self.attention(x if operand is None else operand)
        spread = None
        if self.static is not None:
            spread = F.interpolate(heads[SCALE], scale_factor=self.spread, mode="nearest")
        summands = []
        if self.query is not None and self.project is not None and phi is not None:
            summands.append(self.project(per_sample_conv1x1(cropped(self.query(x), self.size), phi)))
        if self.static is not None:
            summands.append(self.static(x) * spread)
        if self.bias is not None:
            summands.append(self.bias)
        return total(summands)

    @classmethod
    def refusal(cls, shape: OperatorShape) -> str | None:
        """Return why the layer is not for blocks."""
        if shape.geometry.vector:
            return "its input is a vector, which no runtime keeps in blocks"
        if MIXTURE in shape.terms:
            return "it mixes kernels, and in blocks its sum of maps would be a pass for each of them"
        return branch_refusal(shape)

    @classmethod
    def cost(cls, shape: OperatorShape, size: MapSize, *, activated: bool) -> Cost:
        """Return what a layer costs."""
        del activated  # fused
        x, u = shape.geometry.C * size.inputs, shape.latent * size.outputs
        return costs.added(costs.branch(shape, size), Cost(0, 0, x, 2 * u, 0, 3))
