"""What a lowering asks of an operator's terms, and why it refuses some."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from torch import Tensor

from dcd_deploy.dynamic.operator import FILTERS, KERNELS, TAPS, DynamicOperator, LowRank, Mixture, RowScaled
from dcd_deploy.dynamic.shape import LOW_RANK, MIXTURE, OperatorShape

AnyTerm = TypeVar("AnyTerm", RowScaled, LowRank, Mixture)


def term_of(operator: DynamicOperator, kind: type[AnyTerm]) -> AnyTerm | None:
    """Return the term of a kind, if there is one."""
    return next((term for term in operator.terms if isinstance(term, kind)), None)


def sums_to_one(operator: DynamicOperator) -> bool:
    """Whether the shares of the kernels are those of a softmax, so that a mixture of copies of a value is the value."""
    head = operator.attention.heads.get(KERNELS)
    return head is not None and head.activation.name == "softmax" and head.activation.gain == 1.0


def bias_within(operator: DynamicOperator) -> bool:
    """Whether the constant bias can be that of each kernel of a mixture, which then costs no pass of its own."""
    return sums_to_one(operator) and FILTERS not in operator.attention.heads


def with_bias(term: Mixture, bias: Tensor) -> Mixture:
    """Return a mixture with ``bias`` (K) more in each of its kernels' biases."""
    more = bias.expand(len(term.bank), -1)
    return replace(term, bias=more if term.bias is None else term.bias + more)


def is_inside(shape: OperatorShape) -> bool:
    """Whether the tap that Q reads never lies beyond the map, so that Q can be a convolution without padding."""
    g = shape.geometry
    sides = zip(g.kernel, g.padding, g.dilation, strict=True)
    return all(2 * padding <= dilation * (kernel - 1) for kernel, padding, dilation in sides)


def separable(shape: OperatorShape) -> bool:
    """Whether W0 can stay a constant convolution, scaled by λ, and the rest is one tap within the map."""
    return MIXTURE not in shape.terms and (LOW_RANK not in shape.terms or is_inside(shape))


def branch_refusal(shape: OperatorShape) -> str | None:
    """Return why the terms of such a layer cannot be convolved one by one."""
    g = shape.geometry
    if any(name == TAPS for name, _, _ in shape.heads):
        return "its taps are scaled, and a convolution by constant weights adds them up before that"
    if LOW_RANK in shape.terms and not is_inside(shape):
        return f"its latent map has a border, since padding {g.padding} goes beyond the middle of kernel {g.kernel}"
    return None
