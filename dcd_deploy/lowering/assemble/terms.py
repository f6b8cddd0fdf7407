"""What a lowering asks of an operator's terms, why it refuses some, and what they cost in each order.

Costs are in the units of ``Cost``; what a runtime adds is counted with each lowering.

k weights of a kernel, A multiply-adds of the attention, S values of the last stage, P pixels out.

                 branch                              kernel
    RowScaled    k P                                 k floats read, scaled and read again
    LowRank      (C + L + K) L P                     K L² + L k
    Mixture      M k P                               M k
    all                                              k P by computed weights
"""

from __future__ import annotations

from dataclasses import astuple, replace

from torch import Tensor

from dcd_deploy.dynamic.operator import FILTERS, INPUTS, KERNELS, TAPS, DynamicOperator, Mixture
from dcd_deploy.dynamic.shape import LOW_RANK, MIXTURE, ROW_SCALED, MapSize, OperatorShape, pooled_values
from dcd_deploy.lowering.lowering import Cost


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


NOTHING = Cost(0, 0, 0, 0, 0, 0)


def added(*costs: Cost) -> Cost:
    """Return the sum."""
    return Cost(*(sum(counts) for counts in zip(*(astuple(cost) for cost in costs), strict=True)))


def decomposed(shape: OperatorShape) -> bool:
    """Whether the kernel is λ ⊙ W0 + P Φ Q alone."""
    return set(shape.terms) == {ROW_SCALED, LOW_RANK}


def squeezed(shape: OperatorShape) -> int:
    """Return S."""
    return shape.stages[-1][1] if shape.stages else pooled_values(shape)


def scales(shape: OperatorShape) -> int:
    """Return how many products by α_in, α_tap (these two as one) and α_out there are."""
    heads = {name for name, _, _ in shape.heads}
    return bool({INPUTS, TAPS} & heads) + (FILTERS in heads)


def attention(shape: OperatorShape) -> Cost:
    """Return the cost from the pooled values to the heads; the pooling is one node, a pass over the map not counted."""
    nodes = 1 + sum(2 if kind == "gated" else 1 for kind, _, _ in shape.stages) + len(shape.heads)
    macs = shape.attention_macs
    return Cost(macs, 0, 0, 0, macs, nodes + (LOW_RANK in shape.terms))


def branch(shape: OperatorShape, size: MapSize) -> Cost:
    """Return the cost of the terms and of their sum, without layout changes, in the branch order."""
    g, latent, pixels, kernel = shape.geometry, shape.latent, size.outputs, shape.kernel_size
    y, u = g.K * pixels, latent * pixels
    costs = [attention(shape)]
    if ROW_SCALED in shape.terms:  # ⊙ λ
        costs.append(Cost(kernel * pixels, 0, 2 * y, 0, kernel, 2))
    if LOW_RANK in shape.terms:  # Q, Φ and P
        costs.append(Cost(latent * g.C * pixels + latent * y, latent * u, 2 * u + 2 * y, 0, latent * (g.C + g.K), 3))
    if (m := shape.kernels) and MIXTURE in shape.terms:  # all that they give, weighed and added up
        costs.append(Cost(m * kernel * pixels, 0, (4 * m - 2) * y, 0, m * kernel, 3 * m))
    sums = len(shape.terms) - 1 + scales(shape)
    return added(*costs, Cost(0, 0, 2 * y * sums, 0, 0, sums))


def kernel(shape: OperatorShape, size: MapSize, weights: int, outputs: int) -> Cost:
    """Return the cost of W(x), b(x) and the convolution by them, for so many weights and outputs, padding included.

    How P Φ Q is associated is the backend's, and counted there.
    """
    costs = [attention(shape), Cost(0, shape.kernel_size * size.outputs, 0, 0, weights, 2)]
    if ROW_SCALED in shape.terms:
        costs.append(Cost(0, 0, 0, 0, 3 * weights, 2))
    if LOW_RANK in shape.terms:
        shift = squeezed(shape) * outputs
        costs.append(Cost(shift, 0, 0, 0, shift + 2 * weights, 3))
    if MIXTURE in shape.terms:
        m = shape.kernels
        costs.append(Cost(m * weights, 0, 0, 0, (m + 2) * weights, 2))
    return added(*costs, Cost(0, 0, 0, 0, 2 * weights * scales(shape), 2 * scales(shape)))
