"""The canonical operator as a module, in the plainest order: compute W(x) for each sample, and convolve by it.

Nothing here is fast. It says what an operator means: adapters are proved by it, lowerings checked against it, and the
heads that it observes or freezes show whether the inputs of a verification exercise the dynamic part.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.dynamic.operator import (
    FILTERS,
    INPUTS,
    KERNELS,
    PHI,
    SCALE,
    TAPS,
    ConvGeometry,
    DynamicOperator,
    LowRank,
    Mixture,
    RowScaled,
)

Values = Mapping[str, Tensor]


def kernel_of(operator: DynamicOperator, heads: Values) -> tuple[Tensor, Tensor]:
    """Return W (N, K, C/groups, kh, kw) and b (N, K) for the values of the heads (N, values)."""
    g = operator.geometry
    n = len(next(iter(heads.values())))
    example = next(iter(heads.values()))
    weight = example.new_zeros(n, g.K, g.C // g.groups, *g.kernel)
    bias = example.new_zeros(n, g.K) if operator.bias is None else operator.bias.to(example).expand(n, -1)
    for term in operator.terms:
        more, shift = _term(term, g, heads)
        weight = weight + more
        bias = bias if shift is None else bias + shift
    return weight, bias


def _term(term: RowScaled | LowRank | Mixture, g: ConvGeometry, heads: Values) -> tuple[Tensor, Tensor | None]:
    if isinstance(term, RowScaled):
        scale = heads[SCALE]
        return term.weight.to(scale) * scale[:, :, None, None, None], _scaled(term.bias, scale)
    if isinstance(term, LowRank):
        return _low_rank(term, g, heads[PHI])
    return _mixture(term, g, heads)


def _scaled(bias: Tensor | None, scale: Tensor) -> Tensor | None:
    return None if bias is None else bias.to(scale) * scale


def _low_rank(term: LowRank, g: ConvGeometry, values: Tensor) -> tuple[Tensor, Tensor | None]:
    phi = values.view(-1, term.latent, term.latent)
    project, query = term.project.to(phi), term.query.to(phi)
    matrix = project @ phi @ query  # (N, K, C)
    row, column = g.origin
    around = (column, g.kernel[1] - 1 - column, row, g.kernel[0] - 1 - row)
    weight = F.pad(matrix[:, :, :, None, None], around)
    shift = None
    if term.query_shift is not None:
        shift = (project @ (phi @ term.query_shift.to(phi)[:, None])).squeeze(2)
    if term.mixed_shift is not None:
        constant = (project @ term.mixed_shift.to(phi)).expand(len(phi), -1)
        shift = constant if shift is None else shift + constant
    return weight, shift


def _mixture(term: Mixture, g: ConvGeometry, heads: Values) -> tuple[Tensor, Tensor | None]:
    mix = heads[KERNELS]
    weight = torch.einsum("nm,mkctu->nkctu", mix, term.bank.to(mix))
    bias = None if term.bias is None else mix @ term.bias.to(mix)
    if (filters := heads.get(FILTERS)) is not None:
        weight = weight * filters[:, :, None, None, None]
        bias = None if bias is None else bias * filters
    if (inputs := heads.get(INPUTS)) is not None:
        per_group = inputs.view(-1, g.groups, 1, g.C // g.groups, 1, 1)
        grouped = weight.view(len(weight), g.groups, g.K // g.groups, *weight.shape[2:])
        weight = (grouped * per_group).view(weight.shape)
    if (taps := heads.get(TAPS)) is not None:
        weight = weight * taps.view(-1, 1, 1, *g.kernel)
    return weight, bias


def convolve(x: Tensor, weight: Tensor, bias: Tensor, g: ConvGeometry) -> Tensor:
    """Apply to each sample of x (N, C, H, W), or (N, C), its own kernel W (N, K, C/groups, kh, kw) and bias (N, K)."""
    if g.vector:
        return (weight.flatten(2) @ x[:, :, None]).squeeze(2) + bias
    if g.padding_mode != "zeros":
        x = F.pad(x, (g.padding[1], g.padding[1], g.padding[0], g.padding[0]), mode=g.padding_mode)
    padding = g.padding if g.padding_mode == "zeros" else (0, 0)
    n, _, height, width = x.shape
    y = F.conv2d(
        x.reshape(1, -1, height, width),
        weight.flatten(0, 1),
        bias.flatten(),
        g.stride,
        padding,
        g.dilation,
        n * g.groups,
    )
    return y.view(n, g.K, *y.shape[2:])


class CanonicalLayer(nn.Module):
    """The operator as a module on x (N, C, H, W), or (N, C), and on the second operand where the attention reads it.

    ``observe`` is called with the values of all heads, and may return others in their place. In the precision of x.
    """

    def __init__(self, operator: DynamicOperator) -> None:
        super().__init__()
        self.operator = operator
        self.observe: object = None

    def heads(self, x: Tensor, operand: Tensor | None = None) -> Values:
        """Return the values of all heads for such inputs."""
        source = x if self.operator.attention.own else operand
        assert source is not None
        return self.operator.attention(source)

    def forward(self, x: Tensor, operand: Tensor | None = None) -> Tensor:
        heads = self.heads(x, operand)
        if callable(self.observe):
            heads = self.observe(heads) or heads
        return convolve(x, *kernel_of(self.operator, heads), self.operator.geometry)
