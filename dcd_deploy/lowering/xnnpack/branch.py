"""The branch order for XNNPACK: λ ⊙ (W0 * x + b0) + P (Φ (Q x + t1)) + Σ π_m (W_m * x + b_m) ⊙ α_out + bias.

W0 and Q are two convolutions, and Φ acts on the pixels of the latent map: of one sample as a linear layer with a
computed weight, of several as a product of matrices.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.dynamic.operator import FILTERS, INPUTS, KERNELS, SCALE, DynamicOperator, LowRank, Mixture, RowScaled
from dcd_deploy.dynamic.shape import MapSize, OperatorShape
from dcd_deploy.lowering.assemble import terms as costs
from dcd_deploy.lowering.assemble.activations import with_relu6
from dcd_deploy.lowering.assemble.attention import constant_bias
from dcd_deploy.lowering.assemble.terms import bias_within, branch_refusal, with_bias
from dcd_deploy.lowering.channels_first.parts import cropped, static_conv, total
from dcd_deploy.lowering.layers import conv_of, frozen, linear_of
from dcd_deploy.lowering.lowering import Cost, Lowering
from dcd_deploy.lowering.xnnpack.parts import PooledAttention, as_map, over_map, rows


class XnnpackBranch(Lowering):
    """A dynamic convolution in the branch order; (N, C, H, W) to (N, K, H', W'), or (N, C) to (N, K)."""

    name: ClassVar[str] = "branch"

    def __init__(self, operator: DynamicOperator, size: MapSize) -> None:
        super().__init__(operator, size)
        operator = with_relu6(operator)
        g, bias, mixture = operator.geometry, constant_bias(operator), operator.term(Mixture)
        self.vector, self.size = g.vector, size
        self.attention = PooledAttention(operator, size)
        self.static = self.query = self.project = self.bias = None
        self.banks: nn.ModuleList | None = None
        if (row_scaled := operator.term(RowScaled)) is not None:
            flat = row_scaled.weight.flatten(1)
            self.static = linear_of(flat, row_scaled.bias) if g.vector else static_conv(row_scaled, g)
        if (low_rank := operator.term(LowRank)) is not None:
            query, shift, project = low_rank.query, low_rank.query_shift, low_rank.project
            self.query = linear_of(query, shift) if g.vector else conv_of(query[:, :, None, None], shift, g.stride)
            self.project = linear_of(project, bias) if g.vector else conv_of(project[:, :, None, None], bias)
        elif bias is not None and mixture is not None and bias_within(operator):
            mixture = with_bias(mixture, bias)
        elif bias is not None:
            self.bias = frozen(bias if g.vector else bias[:, None, None])
        if mixture is not None:
            self.banks = nn.ModuleList(_static_layers(mixture, operator))

    def forward(self, x: Tensor, operand: Tensor | None = None) -> Tensor:
        heads, _, phi = self.attention(x if operand is None else operand)
        summands = []
        if self.static is not None:
            summands.append(self.static(x) * self._over(heads[SCALE]))
        if self.query is not None and self.project is not None and phi is not None:
            mixed = self._by_phi(self.query(x), phi)
            summands.append(self.project(mixed))
        if self.banks is not None:
            summands.append(self._mixture(self.banks, x, heads))
        if self.bias is not None:
            summands.append(self.bias)
        return total(summands)

    def _over(self, values: Tensor) -> Tensor:
        return values if self.vector else over_map(values)

    def _by_phi(self, q: Tensor, phi: Tensor) -> Tensor:
        """Return Φ (N, L, L) on every pixel of the latent map."""
        n, latent = phi.shape[:2]
        pixels = q if self.vector else rows(cropped(q, self.size))
        if n == 1:
            mixed = F.linear(pixels, phi.view(latent, latent))
        else:
            mixed = torch.bmm(pixels.reshape(n, -1, latent), phi.mT).view(pixels.shape)
        return mixed if self.vector else as_map(mixed)

    def _mixture(self, banks: nn.ModuleList, x: Tensor, heads: Mapping[str, Tensor]) -> Tensor:
        if INPUTS in heads:
            x = x * self._over(heads[INPUTS])
        mix = heads[KERNELS]
        y = total([layer(x) * self._over(mix[..., m : m + 1]) for m, layer in enumerate(banks)])
        return y * self._over(heads[FILTERS]) if FILTERS in heads else y

    @classmethod
    def refusal(cls, shape: OperatorShape) -> str | None:
        """Return why the terms cannot be convolved one by one."""
        return branch_refusal(shape)

    @classmethod
    def cost(cls, shape: OperatorShape, size: MapSize, *, activated: bool) -> Cost:
        """Return what a layer costs."""
        del activated  # within the sum
        around = Cost(0, 0, 2 * shape.geometry.C * size.inputs, 0, 0, 0)  # pooling, Q
        return costs.added(costs.branch(shape, size), around)


def _static_layers(term: Mixture, operator: DynamicOperator) -> list[nn.Module]:
    """Return the layer of each kernel of a mixture."""
    g, biases = operator.geometry, [None] * len(term.bank) if term.bias is None else list(term.bias)
    if g.vector:
        return [linear_of(weight.flatten(1), bias) for weight, bias in zip(term.bank, biases, strict=True)]
    settings = (g.stride, g.padding, g.groups, g.dilation, g.padding_mode)
    return [conv_of(weight, bias, *settings) for weight, bias in zip(term.bank, biases, strict=True)]
