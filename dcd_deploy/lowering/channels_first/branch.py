"""The branch order: each term convolves by its own constant weights, and the heads weigh what comes out.

    λ ⊙ (W0 * x + b0) + P (Φ (Q x + t1)) + Σ π_m (W_m * x + b_m) ⊙ α_out + bias

The decomposition is computed as the paper draws it (arXiv 2103.08756, figure 2): Φ acts on the small latent map,
between constant convolutions by Q and P. On a vector that is always the cheapest.
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
from dcd_deploy.dynamic.shape import ROW_SCALED, MapSize, OperatorShape
from dcd_deploy.lowering.assemble import terms as costs
from dcd_deploy.lowering.assemble.activations import plain
from dcd_deploy.lowering.assemble.attention import HeadValues, constant_bias
from dcd_deploy.lowering.assemble.terms import bias_within, branch_refusal, with_bias
from dcd_deploy.lowering.channels_first.attention import ChannelsFirstAttention
from dcd_deploy.lowering.channels_first.parts import StaticAndQuery, depthwise_in_plain, per_sample_conv1x1, total
from dcd_deploy.lowering.layers import conv_of, frozen, linear_of
from dcd_deploy.lowering.lowering import Cost, Lowering


class ChannelsFirstMixture(nn.Module):
    """From a map (N, C, H, W) to (N, K, H', W'), or from (N, C) to (N, K).

    The kernels of a dense 1×1 layer are one convolution, which one product with π weighs.
    """

    def __init__(self, term: Mixture, g: ConvGeometry) -> None:
        super().__init__()
        self.geometry, bank, bias = g, term.bank, term.bias
        if g.vector:
            self.joint: nn.Module | None = linear_of(
                bank.flatten(2).flatten(0, 1), None if bias is None else bias.flatten()
            )
        elif g.pointwise:
            self.joint = conv_of(bank.flatten(0, 1), None if bias is None else bias.flatten(), g.stride)
        else:
            self.joint = None
            biases = [None] * len(bank) if bias is None else list(bias)
            convs = (
                conv_of(weight, shift, g.stride, g.padding, g.groups, g.dilation, g.padding_mode)
                for weight, shift in zip(bank, biases, strict=True)
            )
            self.convs = nn.ModuleList(convs)

    def forward(self, x: Tensor, heads: Mapping[str, Tensor]) -> Tensor:
        if (inputs := heads.get(INPUTS)) is not None:
            x = x * self._over_map(inputs)
        y = self._mixed(x, heads[KERNELS])
        return y * self._over_map(heads[FILTERS]) if FILTERS in heads else y

    def _mixed(self, x: Tensor, mix: Tensor) -> Tensor:
        if self.joint is not None:
            y = self.joint(x)
            rows = y.reshape(y.shape[0], mix.shape[1], -1)
            joint: Tensor = torch.matmul(mix[:, None, :], rows).reshape(y.shape[0], self.geometry.K, *y.shape[2:])
            return joint
        return total([conv(x) * mix[:, m, None, None, None] for m, conv in enumerate(self.convs)])

    def _over_map(self, values: Tensor) -> Tensor:
        return values if self.geometry.vector else values[:, :, None, None]


class ChannelsFirstBranch(Lowering):
    """A dynamic convolution in the branch order; (N, C, H, W) to (N, K, H', W'), or (N, C) to (N, K)."""

    name: ClassVar[str] = "branch"

    def __init__(self, operator: DynamicOperator, size: MapSize) -> None:
        super().__init__(operator, size)
        operator = plain(operator)
        g = self.geometry = operator.geometry
        static, low_rank = operator.term(RowScaled), operator.term(LowRank)
        bias = constant_bias(operator)
        self.attention = ChannelsFirstAttention(operator, size)
        self.project: nn.Module | None = None
        self.mixture = self.bias = None
        if g.vector:
            self._of_vectors(static, low_rank, bias)
        else:
            self.features = StaticAndQuery(static, low_rank, g, size)
            if low_rank is not None:
                self.project = conv_of(low_rank.project[:, :, None, None], bias)
        mixture = operator.term(Mixture)
        within = mixture is not None and low_rank is None and bias_within(operator)
        if mixture is not None:
            self.mixture = ChannelsFirstMixture(with_bias(mixture, bias) if within and bias is not None else mixture, g)
        if bias is not None and low_rank is None and not within:
            self.bias = frozen(bias if g.vector else bias[:, None, None])

    def _of_vectors(self, static: RowScaled | None, low_rank: LowRank | None, bias: Tensor | None) -> None:
        self.static: nn.Module | None = None
        self.query: nn.Module | None = None
        if static is not None:
            self.static = linear_of(static.weight.flatten(1), static.bias)
        if low_rank is not None:
            self.query = linear_of(low_rank.query, low_rank.query_shift)
            self.project = linear_of(low_rank.project, bias)

    def forward(self, x: Tensor, operand: Tensor | None = None) -> Tensor:
        source = x if operand is None else operand
        if self.geometry.vector:
            return self._forward_vector(x, self.attention(source))
        static, q = self.features(x)
        heads, _, phi = self.attention(source)
        summands = []
        if static is not None:
            summands.append(static * heads[SCALE][:, :, None, None])
        if q is not None and phi is not None and self.project is not None:
            summands.append(self.project(per_sample_conv1x1(q, phi)))
        return self._sum(summands, x, heads)

    def _forward_vector(self, x: Tensor, values: HeadValues) -> Tensor:
        heads, _, phi = values
        summands, mixed = [], None
        if self.query is not None and phi is not None:
            mixed = torch.matmul(phi, self.query(x)[:, :, None]).squeeze(2)
        if self.static is not None:
            summands.append(self.static(x) * heads[SCALE])
        if mixed is not None and self.project is not None:
            summands.append(self.project(mixed))
        return self._sum(summands, x, heads)

    def _sum(self, summands: list[Tensor], x: Tensor, heads: dict[str, Tensor]) -> Tensor:
        if self.mixture is not None:
            summands.append(self.mixture(x, heads))
        if self.bias is not None:
            summands.append(self.bias)
        return total(summands)

    @classmethod
    def refusal(cls, shape: OperatorShape) -> str | None:
        """Taps that are scaled cannot be told apart behind a convolution."""
        return branch_refusal(shape)

    @classmethod
    def cost(cls, shape: OperatorShape, size: MapSize, *, activated: bool) -> Cost:
        """Return what a layer costs."""
        g = shape.geometry
        x, y, u = g.C * size.inputs, g.K * size.outputs, shape.latent * size.outputs
        cut_off = 2 * (y + u) * (g.pointwise and costs.decomposed(shape))
        around = Cost(0, 0, x + cut_off + 2 * y * activated, 2 * y + 2 * u + y * activated, 0, 2 + activated)
        depthwise = [depthwise_in_plain(shape, size)] * (shape.kernels + (ROW_SCALED in shape.terms))
        return costs.added(costs.branch(shape, size), around, *depthwise)
