"""A pointwise operator in homogeneous coordinates: (x, 1) Wᵀ, with the bias as the kernel's last column.

    RowScaled   λ ⊙ (W0 b0)
    LowRank     P̃ Φ̃ Q̃     Q̃ = (Q t1; 0 1)     Φ̃ = (Φ 0; 0 1)     P̃ = (P  P t2 + bias)
    Mixture     Σ π_m (W_m b_m),     and b_m + bias for b_m where the π add up to 1

The attention is still to x alone.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from dcd_deploy.dynamic.attention import Dense
from dcd_deploy.dynamic.operator import (
    FILTERS,
    INPUTS,
    PHI,
    TAPS,
    DynamicOperator,
    LowRank,
    Mixture,
    RowScaled,
    Term,
)
from dcd_deploy.lowering.assemble.activations import is_linear
from dcd_deploy.lowering.assemble.bias import constant_bias
from dcd_deploy.lowering.assemble.terms import sums_to_one, term_of, with_bias


def homogeneous(operator: DynamicOperator) -> DynamicOperator | None:
    """Return the operator as one on (x, 1), without biases; None where a bias is no part of a term.

    Its attention is still to x. It has no temperatures and gains, and Φ by rows.
    """
    low_rank, mixture = term_of(operator, LowRank), term_of(operator, Mixture)
    attention, bias = operator.attention, constant_bias(operator)
    if mixture is not None and {FILTERS, INPUTS, TAPS} & set(attention.heads):
        return None
    if low_rank is None and bias is not None:
        if mixture is None or not sums_to_one(operator):
            return None
        mixture = with_bias(mixture, bias)
    if low_rank is not None:
        head = attention.heads[PHI]
        if head is None or not is_linear(head):
            return None
        attention = replace(attention, heads={**attention.heads, PHI: _with_one(head, low_rank.latent)})
    g = replace(operator.geometry, C=operator.geometry.C + 1)
    terms = tuple(_term(mixture if isinstance(term, Mixture) else term, bias) for term in operator.terms)
    return replace(operator, geometry=g, attention=attention, terms=terms, bias=None)


def _with_one(head: Dense, latent: int) -> Dense:
    """Return the head of Φ̃."""
    around = (0, 0, 0, 1, 0, 1)
    weight = F.pad(head.weight.view(latent, latent, -1), around).flatten(0, 1)
    bias = head.weight.new_zeros(latent, latent) if head.bias is None else head.bias.view(latent, latent)
    one = torch.ones(1, dtype=head.weight.dtype)
    return replace(head, weight=weight, bias=torch.block_diag(bias, one).flatten())  # type: ignore[no-untyped-call]


def _term(term: Term | None, bias: Tensor | None) -> Term:
    if isinstance(term, RowScaled):
        return RowScaled(_and_bias(term.weight, term.bias))
    if isinstance(term, LowRank):
        shift, one = _or_zeros(term.query_shift, term.query[:, 0]), torch.ones(1, dtype=term.query.dtype)
        query = torch.cat([F.pad(term.query, (0, 0, 0, 1)), torch.cat([shift, one])[:, None]], 1)
        return LowRank(torch.cat([term.project, _or_zeros(bias, term.project[:, 0])[:, None]], 1), query)
    assert isinstance(term, Mixture)
    return Mixture(_and_bias(term.bank, term.bias))


def _and_bias(weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return kernels (…, K, C, 1, 1) with the bias (…, K), or zeros, as one more channel."""
    return torch.cat([weight, _or_zeros(bias, weight[..., 0, 0, 0])[..., None, None, None]], -3)


def _or_zeros(bias: Tensor | None, example: Tensor) -> Tensor:
    return torch.zeros_like(example) if bias is None else bias
