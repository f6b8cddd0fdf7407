"""The kernel order by a linear layer with a computed weight: y = act(x W(x)ᵀ + b(x)), one operator on one sample.

    V = P Φ                 linear of P by Φᵀ              or, with more outputs than inputs,
    W = V Q + λ ⊙ W0        linear of V by Qᵀ              P (Φ Q): linear of P by linear of Qᵀ by Φ
    b = V t1 + …            linear of t1 by V              a head: it is linear in what the stages give
    y = act(x Wᵀ + b)       linear of the map's pixels by W, with its bias; the delegate fuses the activation

V is in the cache, where the weights of a head would be read; without V there is only the head. Beside V the latent map
has a channel of ones, so that the constant bias is a column of P, and no sum (``with_latent_one``).
XNNPACK's convolution takes constant weights alone; its fully connected operator computed ones too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.dynamic.operator import DynamicOperator, LowRank
from dcd_deploy.dynamic.shape import MapSize
from dcd_deploy.lowering.assemble.activations import phi_by_columns, with_relu6
from dcd_deploy.lowering.assemble.attention import Bias, Heads
from dcd_deploy.lowering.assemble.enlarged import with_latent_one
from dcd_deploy.lowering.assemble.kernel import Kernel, query_first
from dcd_deploy.lowering.assemble.windows import without_copies
from dcd_deploy.lowering.layers import frozen, linear_of
from dcd_deploy.lowering.one_matrix import OneMatrixLowering
from dcd_deploy.lowering.xnnpack.parts import PooledAttention, XnnpackApplied, pixels


class XnnpackKernel(OneMatrixLowering):
    """A dynamic convolution of one group, of one sample; (1, C, H, W) to (1, K, H', W'), or (1, C) to (1, K)."""

    name: ClassVar[str] = "kernel"
    smaller_side: ClassVar[bool] = True
    activation: nn.Module

    def __init__(self, operator: DynamicOperator, size: MapSize) -> None:
        super().__init__(operator, size)
        by_rows = without_copies(with_relu6(operator), size)
        by_rows = by_rows if query_first(by_rows) else with_latent_one(by_rows)
        operator = for_rows(by_rows)
        g = self.geometry = operator.geometry
        self.attention = PooledAttention(operator, size)
        self.shift = ComputedBias(by_rows)
        self.kernel = XnnpackRows(operator)
        self.pixels = nn.Identity() if g.vector else pixels(g, size)
        self.applied, self.activation = XnnpackApplied(), nn.Identity()

    def forward(self, x: Tensor, operand: Tensor | None = None) -> Tensor:
        heads, stages, phi = self.attention(x if operand is None else operand)
        inner = None if phi is None else self.kernel.inner(phi)
        bias = self.shift(heads, stages, inner)
        kernel = self.kernel(heads, inner)
        if self.geometry.vector:
            row: Tensor = self.activation(F.linear(x, kernel, bias))
            return row
        y: Tensor = self.applied(self.pixels(x), kernel, bias, self.activation)
        return y


class ComputedBias(nn.Module):
    """b(x) as a row (1, K), or None; a constant one is computed too: the delegate of 1.5 crashes on one by a weight."""

    def __init__(self, operator: DynamicOperator) -> None:
        super().__init__()
        low_rank, self.query_shift, self.constant = operator.term(LowRank), None, None
        if low_rank is not None and low_rank.query_shift is not None and not query_first(operator):
            self.query_shift = frozen(low_rank.query_shift[None])
            without = replace(low_rank, query_shift=None)
            terms = tuple(without if term is low_rank else term for term in operator.terms)
            operator = replace(operator, terms=terms)
        self.bias = Bias(operator, linear_of, columns=not query_first(operator))
        if self.bias.is_constant and self.bias.constant is not None:
            row = self.bias.constant
            if self.query_shift is None:
                self.constant = linear_of(torch.zeros(operator.geometry.K, 1, dtype=torch.float64), row)
            else:
                self.bias.constant = frozen(row[None])  # as the shift is: the delegate would reshape it at each run

    def forward(self, heads: Heads, stages: Tensor, inner: Tensor | None) -> Tensor | None:
        """``inner`` is the inner product of P Φ Q, where there is a low-rank term."""
        bias: Tensor | None
        if self.constant is not None:
            bias = self.constant(next(iter(heads.values()))[..., :1])
        else:
            bias = self.bias(heads, stages)
        bias = None if bias is None else bias.reshape(1, -1)
        if self.query_shift is None or inner is None:
            return bias
        shift = F.linear(self.query_shift, inner)
        return shift if bias is None else shift + bias


def for_rows(operator: DynamicOperator) -> DynamicOperator:
    """Return the operator whose Φ, or Φᵀ, is the weight of the inner product's linear layer."""
    return operator if query_first(operator) else phi_by_columns(operator)


class XnnpackRows(Kernel):
    """The kernel as torch has it, (K, C·taps), for heads (1, values) and P Φ (K, L), or (Φ Q)ᵀ (C·taps, L)."""

    def hold_low_rank(self, query: Tensor, project: Tensor) -> None:
        """Keep Qᵀ (C·taps, L) and P (K, L)."""
        self.query, self.project = frozen(query.t()), frozen(project)

    def hold_bank(self, bank: Tensor) -> None:
        """Keep the bank as a layer."""
        self.mix = linear_of(bank.t())

    def inner(self, phi: Tensor) -> Tensor:
        """Return P Φ for Φᵀ (1, L, L), or (Φ Q)ᵀ for Φ."""
        return F.linear(self.query if self.query_first else self.project, phi.view(phi.shape[1:]))

    def low_rank(self, phi: Tensor, *, one: bool) -> Tensor:
        """Return P Φ Q, for the inner product."""
        assert one, "one sample"
        return F.linear(self.project, phi) if self.query_first else F.linear(phi, self.query)

    def with_low_rank(self, kernel: Tensor | None, low_rank: Tensor, *, one: bool) -> Tensor:
        """Return the sum."""
        del one
        return low_rank if kernel is None else kernel + low_rank

    def mixed(self, mix: Tensor) -> Tensor:
        """Return Σ π_m W_m, all numbers in a row."""
        mixed: Tensor = self.mix(mix)
        return mixed
