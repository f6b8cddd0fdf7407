"""Operators with more channels that compute the same.

A pointwise one in homogeneous coordinates, (x, 1) Wᵀ, has the bias as the kernel's last column; its attention is still
to x alone:

    RowScaled   λ ⊙ (W0 b0)
    LowRank     P̃ Φ̃ Q̃     Q̃ = (Q t1; 0 1)     Φ̃ = (Φ 0; 0 1)     P̃ = (P  P t2 + bias)
    Mixture     Σ π_m (W_m b_m),     and b_m + bias for b_m where the π add up to 1

Of a LowRank term, the latent map alone can have the channel of ones: P̃ (Φ̃ (Q; 0) x + Φ̃ (t1; 1)) has no other bias.
Any can have channels of zeros, in and out, for maps that are padded likewise.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from dcd_deploy.dynamic.attention import Attention, Dense, Gated
from dcd_deploy.dynamic.operator import (
    FILTERS,
    INPUTS,
    PHI,
    SCALE,
    TAPS,
    ConvGeometry,
    DynamicOperator,
    LowRank,
    Mixture,
    RowScaled,
    Term,
)
from dcd_deploy.lowering.assemble.activations import AnyStage, is_linear
from dcd_deploy.lowering.assemble.attention import constant_bias
from dcd_deploy.lowering.assemble.terms import sums_to_one, with_bias


def homogeneous(operator: DynamicOperator) -> DynamicOperator | None:
    """Return the operator as one on (x, 1), without biases; None where a bias is no part of a term.

    Its attention is still to x. It has no temperatures and gains, and Φ by rows.
    """
    low_rank, mixture = operator.term(LowRank), operator.term(Mixture)
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


def with_latent_one(operator: DynamicOperator) -> DynamicOperator:
    """Return the operator whose constant bias is a column of P, which a latent channel of ones takes there.

    It is itself where it has no such bias, or Φ is not linear in what the stages give. Φ is by rows.
    """
    low_rank, bias = operator.term(LowRank), constant_bias(operator)
    if low_rank is None or bias is None:
        return operator
    head = operator.attention.heads[PHI]
    if head is None or not is_linear(head):
        return operator
    shift, one = _or_zeros(low_rank.query_shift, low_rank.query[:, 0]), low_rank.query.new_ones(1)
    larger = LowRank(
        torch.cat([low_rank.project, bias[:, None]], 1), F.pad(low_rank.query, (0, 0, 0, 1)), torch.cat([shift, one])
    )
    heads = {**operator.attention.heads, PHI: _with_one(head, low_rank.latent)}
    terms = tuple(larger if term is low_rank else term for term in operator.terms)
    return replace(operator, attention=replace(operator.attention, heads=heads), terms=terms, bias=None)


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


NO_SHARE = -1e9  # before a softmax


def padded(operator: DynamicOperator, inputs: int, outputs: int) -> DynamicOperator:
    """Return a dense or depthwise operator with so many channels in and out."""
    g = operator.geometry
    more_in, more_out = inputs - g.C, outputs - g.K
    wide = replace(g, C=inputs, K=outputs, groups=inputs if g.depthwise else g.groups)
    return replace(
        operator,
        geometry=wide,
        attention=_attention(operator.attention, g, more_in, more_out),
        terms=tuple(_padded_term(term, 0 if g.depthwise else more_in, more_out) for term in operator.terms),
        bias=None if operator.bias is None else F.pad(operator.bias, (0, more_out)),
    )


def _attention(attention: Attention, g: ConvGeometry, more_in: int, more_out: int) -> Attention:
    stages, heads, wider = list(attention.stages), dict(attention.heads), attention.own
    for i, stage in enumerate(stages):
        if wider:
            stages[i] = _seeing_more(stage, g.C, more_in)
            wider = isinstance(stage, Gated)  # which passes on what it sees
    if wider:
        cells = 1 if attention.pool is None else math.prod(attention.pool)
        heads = {name: _seeing_more(_dense(head, g.C * cells), g.C, more_in) for name, head in heads.items()}
    for name, values, more in ((SCALE, g.K, more_out), (FILTERS, g.K, more_out), (INPUTS, g.C, more_in)):
        if name in heads:
            heads[name] = _giving_more(_dense(heads[name], values), more)
    return replace(attention, stages=tuple(stages), heads=heads)


def _dense(head: Dense | None, values: int) -> Dense:
    return Dense(torch.eye(values, dtype=torch.float64)) if head is None else head


def _seeing_more(layer: AnyStage, channels: int, more: int) -> AnyStage:
    cells = layer.weight.view(len(layer.weight), channels, -1)
    weight = F.pad(cells, (0, 0, 0, more)).flatten(1)
    if isinstance(layer, Dense):
        return replace(layer, weight=weight)
    added = weight.shape[1] - len(weight)  # the cells of each added channel
    return replace(
        layer, weight=_rows(weight, added), bias=None if layer.bias is None else F.pad(layer.bias, (0, added))
    )


def _giving_more(layer: Dense, more: int) -> Dense:
    bias = layer.bias
    if layer.activation.name == "softmax" and more:  # of which others must get no share
        bias = F.pad(layer.weight.new_zeros(len(layer.weight)) if bias is None else bias, (0, more), value=NO_SHARE)
    elif bias is not None:
        bias = F.pad(bias, (0, more))
    return replace(layer, weight=_rows(layer.weight, more), bias=bias)


def _rows(weight: Tensor, more: int) -> Tensor:
    return F.pad(weight, (0, 0, 0, more))


def _padded_term(term: Term, more_in: int, more_out: int) -> Term:
    around = (0, 0, 0, 0, 0, more_in, 0, more_out)  # F.pad counts dimensions from the last
    if isinstance(term, LowRank):
        return replace(term, query=F.pad(term.query, (0, more_in)), project=_rows(term.project, more_out))
    bias = None if term.bias is None else F.pad(term.bias, (0, more_out))
    if isinstance(term, RowScaled):
        return replace(term, weight=F.pad(term.weight, around), bias=bias)
    assert isinstance(term, Mixture)
    return replace(term, bank=F.pad(term.bank, around), bias=bias)
