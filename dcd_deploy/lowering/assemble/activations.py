"""Rewrites of an operator that leave its values alone, and its attention to operators that a runtime has.

softmax(v / T)                →  T into the weights before it
hardsigmoid(W a + b)          →  relu6(W a + b + 3) / 6, the sixth into the weights behind it
gain · f(v)                   →  the gain into the weights behind it (``folds.without_gains``)
heads(gate(W a + b))          →  heads / s (gate / s (s W a + s b)), s a power of two, which changes no digit
Φ (L, L) by rows              →  Φᵀ, by the order of its head's outputs
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from dcd_deploy.dynamic.attention import IDENTITY, Attention, Dense, Gated, Stage
from dcd_deploy.dynamic.folds import without_gains
from dcd_deploy.dynamic.operator import PHI, DynamicOperator, LowRank

AnyStage = TypeVar("AnyStage", bound=Stage)
HOMOGENEOUS = ("identity", "relu")  # f(s v) = s f(v) for s > 0


class _Rewrite(Protocol):
    def __call__(self, layer: AnyStage) -> AnyStage: ...


def plain(operator: DynamicOperator) -> DynamicOperator:
    """Return the operator without temperatures and gains."""
    return without_gains(_each_layer(operator, _without_temperature))


def with_relu6(operator: DynamicOperator) -> DynamicOperator:
    """Return the operator without temperatures and gains, whose hard sigmoids are relu6, and whose weights balance."""
    found = plain(_each_layer(operator, _as_relu6))
    return replace(found, attention=balanced(found.attention))


def balanced(attention: Attention) -> Attention:
    """Return the same attention whose squeeze and smallest head have weights of one size, by a power of two.

    Trained heads may have weights a thousand times smaller than those of the squeeze. In half precision, numbers below
    6e-5 lose digits, and ARM cores take them for zero.
    """
    gates = [stage for stage in attention.stages[-1:] if isinstance(stage, Gated)]
    before = attention.stages[: len(attention.stages) - len(gates)]
    heads = {name: head for name, head in attention.heads.items() if head is not None}
    if not before or not isinstance(before[-1], Dense) or len(heads) < len(attention.heads):
        return attention
    squeeze = before[-1]
    sizes = [float(squeeze.weight.abs().max()), min(float(head.weight.abs().max()) for head in heads.values())]
    scalable = squeeze.activation.name in HOMOGENEOUS and squeeze.activation.gain == 1.0
    if not scalable or not 0 < min(sizes) <= max(sizes) < math.inf:
        return attention
    scale = 2.0 ** round(math.log2(sizes[1] / sizes[0]) / 2)
    bias = None if squeeze.bias is None else squeeze.bias * scale
    smaller = replace(squeeze, weight=squeeze.weight * scale, bias=bias)
    return replace(
        attention,
        stages=(*before[:-1], smaller, *(replace(gate, weight=gate.weight / scale) for gate in gates)),
        heads={name: replace(head, weight=head.weight / scale) for name, head in heads.items()},
    )


def phi_by_columns(operator: DynamicOperator) -> DynamicOperator:
    """Return the operator whose head "phi" gives Φᵀ: output j·L + i for row i, column j."""
    low_rank = operator.term(LowRank)
    if not isinstance(low_rank, LowRank):
        return operator
    latent = low_rank.latent
    head = operator.attention.heads[PHI]
    if head is None:  # what the stages give, taken in another order
        head = Dense(torch.eye(latent**2, dtype=low_rank.query.dtype))
    order = torch.arange(latent**2).view(latent, latent).t().flatten()
    turned = replace(head, weight=head.weight[order], bias=None if head.bias is None else head.bias[order])
    heads = {**operator.attention.heads, PHI: turned}
    return replace(operator, attention=replace(operator.attention, heads=heads))


def is_linear(head: Dense | None) -> bool:
    """Whether the values of a head are linear in what the stages give."""
    return head is None or head.activation == IDENTITY


def _each_layer(operator: DynamicOperator, rewrite: _Rewrite) -> DynamicOperator:
    attention = operator.attention
    stages = tuple(rewrite(stage) for stage in attention.stages)
    heads = {name: None if head is None else rewrite(head) for name, head in attention.heads.items()}
    return replace(operator, attention=replace(attention, stages=stages, heads=heads))


def _without_temperature(layer: AnyStage) -> AnyStage:
    temperature = layer.activation.temperature
    if layer.activation.name != "softmax" or temperature == 1.0:
        return layer
    bias = None if layer.bias is None else layer.bias / temperature
    activation = replace(layer.activation, temperature=1.0)
    return replace(layer, weight=layer.weight / temperature, bias=bias, activation=activation)


def _as_relu6(layer: AnyStage) -> AnyStage:
    if layer.activation.name != "hardsigmoid":
        return layer
    bias: Tensor = layer.weight.new_full(layer.weight.shape[:1], 3.0)
    if layer.bias is not None:
        bias = bias + layer.bias
    activation = replace(layer.activation, name="relu6", gain=layer.activation.gain / 6)
    return replace(layer, bias=bias, activation=activation)
