"""Exact folds of a dynamic convolution; each is one line for each term (arXiv 2103.08756, section 3).

norm behind the layer, v ↦ s ⊙ v + t     W0 → s ⊙ W0    P → s ⊙ P    W_m → s ⊙ W_m    b → s ⊙ b + t
gain of a head's activation              into W0, P or W_m
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from dcd_deploy.dynamic.canonical import kernel_of
from dcd_deploy.dynamic.operator import (
    FILTERS,
    INPUTS,
    KERNELS,
    PHI,
    SCALE,
    TAPS,
    DynamicOperator,
    LowRank,
    RowScaled,
    Term,
)


def affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the scale and shift (channels) of a BatchNorm in eval mode, with its own eps, affine or not."""
    mean, var = norm.running_mean, norm.running_var
    assert isinstance(mean, Tensor)
    assert isinstance(var, Tensor)
    scale = torch.rsqrt(var.detach() + norm.eps)  # type: ignore[operator]  # a number
    if isinstance(norm.weight, Tensor):
        scale = norm.weight.detach() * scale
    shift = -scale * mean.detach()
    return scale, shift + norm.bias.detach() if isinstance(norm.bias, Tensor) else shift


def with_norm(operator: DynamicOperator, scale: Tensor, shift: Tensor) -> DynamicOperator:
    """Return the operator with v ↦ scale ⊙ v + shift (K) behind it folded in."""
    terms = tuple(scaled(term, scale) for term in operator.terms)
    bias = shift if operator.bias is None else scale * operator.bias + shift
    return replace(operator, terms=terms, bias=bias)


def scaled(term: Term, scale: Tensor) -> Term:
    """Return scale (K) ⊙ term."""
    if isinstance(term, RowScaled):
        weight = scale[:, None, None, None] * term.weight
        return replace(term, weight=weight, bias=None if term.bias is None else scale * term.bias)
    if isinstance(term, LowRank):
        return replace(term, project=scale[:, None] * term.project)
    bank = scale[None, :, None, None, None] * term.bank
    return replace(term, bank=bank, bias=None if term.bias is None else scale * term.bias)


def without_gains(operator: DynamicOperator) -> DynamicOperator:
    """Return the same operator whose activations have a gain of 1: it is in the weights behind them."""
    attention, gains = operator.attention.without_gains()
    terms = tuple(_with_gains(term, gains) for term in operator.terms)
    return replace(operator, attention=attention, terms=terms)


def _with_gains(term: Term, gains: Mapping[str, float]) -> Term:
    """Return the term for head values that lack these gains."""
    if isinstance(term, RowScaled):
        gain = gains[SCALE]
        return replace(term, weight=gain * term.weight, bias=None if term.bias is None else gain * term.bias)
    if isinstance(term, LowRank):  # P Φ (Q x + t1) has the gain once, P t2 has it not
        gain = gains[PHI]
        shift = None if term.mixed_shift is None else term.mixed_shift / gain
        return replace(term, project=gain * term.project, mixed_shift=shift)
    outer = gains[KERNELS] * gains.get(FILTERS, 1.0)
    inner = gains.get(INPUTS, 1.0) * gains.get(TAPS, 1.0)
    return replace(term, bank=outer * inner * term.bank, bias=None if term.bias is None else outer * term.bias)


def static_twin(operator: DynamicOperator, means: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the kernel (K, C/groups, kh, kw) and bias (K) that the mean values of the heads give."""
    weight, bias = kernel_of(operator, {name: values[None] for name, values in means.items()})
    return weight[0], bias[0]
