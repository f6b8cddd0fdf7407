"""The branch order, channels last: (W0 * x + b0) ⊙ λ + P (Φ (Q x + t1)) + Σ π_m (W_m * x + b_m) ⊙ α_out + bias.

It is that of arXiv 2103.08756, figure 2, with the product by Φ spelled as one by Φᵀ from the right. Of shares π that
sum to one the first is not needed: Σ π_m y_m = y_0 + Σ_{m>0} π_m (y_m − y_0), where the differences are those of the
kernels. That is a pass over the output less.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from dcd_deploy.dynamic.operator import (
    FILTERS,
    INPUTS,
    KERNELS,
    SCALE,
    ConvGeometry,
    DynamicOperator,
    LowRank,
    Mixture,
    RowScaled,
)
from dcd_deploy.dynamic.shape import MapSize, OperatorShape
from dcd_deploy.lowering.assemble import terms as costs
from dcd_deploy.lowering.assemble.activations import phi_by_columns, with_relu6
from dcd_deploy.lowering.assemble.attention import constant_bias
from dcd_deploy.lowering.assemble.terms import bias_within, branch_refusal, sums_to_one, with_bias
from dcd_deploy.lowering.channels_last.attention import ChannelsLastAttention
from dcd_deploy.lowering.channels_last.layers import Cropped, on_maps, static_conv
from dcd_deploy.lowering.channels_last.operators import batch_matmul
from dcd_deploy.lowering.channels_last.parts import dense
from dcd_deploy.lowering.layers import conv_of, frozen
from dcd_deploy.lowering.lowering import Cost, Lowering


class ChannelsLastMixture(nn.Module):
    """From a map (N, H, W, C) to (N, H', W', K)."""

    def __init__(self, term: Mixture, g: ConvGeometry, *, sum_to_one: bool = False) -> None:
        super().__init__()
        self.unweighed = int(sum_to_one)
        bank, bias = (from_first(v) if sum_to_one and v is not None else v for v in (term.bank, term.bias))
        assert bank is not None
        biases = [None] * len(bank) if bias is None else list(bias)
        self.convs = nn.ModuleList(
            on_maps(conv_of(weight, bias, g.stride, g.padding, g.groups, g.dilation, g.padding_mode))
            for weight, bias in zip(bank, biases, strict=True)
        )

    def forward(self, x: Tensor, heads: Mapping[str, Tensor]) -> Tensor:
        if INPUTS in heads:
            x = x * heads[INPUTS]
        mix, convs = heads[KERNELS], enumerate(self.convs)
        weighed = [conv(x) if m < self.unweighed else conv(x) * mix[..., m : m + 1] for m, conv in convs]
        y: Tensor = weighed[0]
        for more in weighed[1:]:
            y = y + more
        return y * heads[FILTERS] if FILTERS in heads else y


def from_first(values: Tensor) -> Tensor:
    """Return the first of M values (M, …), and how much the others are more."""
    return torch.cat([values[:1], values[1:] - values[:1]])


class ChannelsLastBranch(Lowering):
    """A dynamic convolution in the branch order; (N, H, W, C) to (N, H', W', K)."""

    name: ClassVar[str] = "branch"

    def __init__(self, operator: DynamicOperator, size: MapSize) -> None:
        super().__init__(operator, size)
        operator = phi_by_columns(with_relu6(operator))
        g, bias, mixture = operator.geometry, constant_bias(operator), operator.term(Mixture)
        self.attention = ChannelsLastAttention(operator, size)
        self.static = self.query = self.mixture = self.bias = None
        if (row_scaled := operator.term(RowScaled)) is not None:
            self.static = static_conv(row_scaled, g)
        if (low_rank := operator.term(LowRank)) is not None:
            self.query = on_maps(conv_of(low_rank.query[:, :, None, None], low_rank.query_shift, g.stride))
            self.cropped = Cropped(size)
            self.project = dense(low_rank.project, bias)
        elif bias is not None and mixture is not None and bias_within(operator):
            mixture = with_bias(mixture, bias)
        elif bias is not None:
            self.bias = frozen(bias)
        if mixture is not None:
            self.mixture = ChannelsLastMixture(mixture, g, sum_to_one=sums_to_one(operator))

    def forward(self, x: Tensor, operand: Tensor | None = None) -> Tensor:
        heads, _, phi = self.attention(x if operand is None else operand)
        mixed, summands = None, []
        if self.query is not None:
            mixed = batch_matmul(self.cropped(self.query(x)), phi)  # (N, H', W', L)
        if self.static is not None:
            summands.append(self.static(x) * heads[SCALE])
        if mixed is not None:
            summands.append(self.project(mixed))
        if self.mixture is not None:
            summands.append(self.mixture(x, heads))
        if self.bias is not None:
            summands.append(self.bias)
        y: Tensor = summands[0]
        for more in summands[1:]:
            y = y + more
        return y

    @classmethod
    def refusal(cls, shape: OperatorShape) -> str | None:
        """Return why the terms cannot be convolved one by one."""
        return branch_refusal(shape)

    @classmethod
    def cost(cls, shape: OperatorShape, size: MapSize, *, activated: bool) -> Cost:
        """Return what a layer costs."""
        x, y = shape.geometry.C * size.inputs, shape.geometry.K * size.outputs
        around = Cost(0, 0, 2 * x + 2 * y * activated, 0, 0, 0)  # pooling, Q; the clamp
        return costs.added(costs.branch(shape, size), around)
