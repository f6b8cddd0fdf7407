"""Channels of zeros added to an operator, in and out: the same function on maps that are padded likewise."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from dcd_deploy.dynamic.attention import Attention, Dense, Stage
from dcd_deploy.dynamic.operator import (
    FILTERS,
    INPUTS,
    SCALE,
    ConvGeometry,
    DynamicOperator,
    LowRank,
    Mixture,
    RowScaled,
    Term,
)


def padded(operator: DynamicOperator, inputs: int, outputs: int) -> DynamicOperator:
    """Return a dense or depthwise operator with so many channels in and out."""
    g = operator.geometry
    more_in, more_out = inputs - g.C, outputs - g.K
    wide = replace(g, C=inputs, K=outputs, groups=inputs if g.depthwise else g.groups)
    return replace(
        operator,
        geometry=wide,
        attention=_attention(operator.attention, g, more_in, more_out),
        terms=tuple(_term(term, 0 if g.depthwise else more_in, more_out) for term in operator.terms),
        bias=None if operator.bias is None else F.pad(operator.bias, (0, more_out)),
    )


def _attention(attention: Attention, g: ConvGeometry, more_in: int, more_out: int) -> Attention:
    stages, heads = list(attention.stages), dict(attention.heads)
    if attention.own and stages:
        stages[0] = _seeing_more(stages[0], g.C, more_in)
    elif attention.own:
        heads = {name: _seeing_more(_dense(head, g.C), g.C, more_in) for name, head in heads.items()}
    for name, values, more in ((SCALE, g.K, more_out), (FILTERS, g.K, more_out), (INPUTS, g.C, more_in)):
        if name in heads:
            heads[name] = _giving_more(_dense(heads[name], values), more)
    return replace(attention, stages=tuple(stages), heads=heads)


def _dense(head: Dense | None, values: int) -> Dense:
    return Dense(torch.eye(values, dtype=torch.float64)) if head is None else head


def _seeing_more(layer: Stage, channels: int, more: int) -> Stage:
    cells = layer.weight.view(len(layer.weight), channels, -1)
    return replace(layer, weight=F.pad(cells, (0, 0, 0, more)).flatten(1))


def _giving_more(layer: Dense, more: int) -> Dense:
    bias = None if layer.bias is None else F.pad(layer.bias, (0, more))
    return replace(layer, weight=_rows(layer.weight, more), bias=bias)


def _rows(weight: Tensor, more: int) -> Tensor:
    return F.pad(weight, (0, 0, 0, more))


def _term(term: Term, more_in: int, more_out: int) -> Term:
    around = (0, 0, 0, 0, 0, more_in, 0, more_out)  # F.pad counts dimensions from the last
    if isinstance(term, LowRank):
        return replace(term, query=F.pad(term.query, (0, more_in)), project=_rows(term.project, more_out))
    bias = None if term.bias is None else F.pad(term.bias, (0, more_out))
    if isinstance(term, RowScaled):
        return replace(term, weight=F.pad(term.weight, around), bias=bias)
    assert isinstance(term, Mixture)
    return replace(term, bank=F.pad(term.bank, around), bias=bias)
