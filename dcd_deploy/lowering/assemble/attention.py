"""How a lowering computes an attention: in which order, under which names, and with which bias.

b(x), the bias that depends on the input, is a dense layer of what the attention has anyway:

    RowScaled   λ ⊙ b0
    LowRank     P (Φ t1 + t2)     linear in a where Φ is: one dense layer of a
    Mixture     π B ⊙ α_out

All of it, and the constant bias, is added once, to the output or within the kernel's convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dcd_deploy.dynamic.attention import Dense, Gated, Stage
from dcd_deploy.dynamic.operator import (
    FILTERS,
    INPUTS,
    KERNELS,
    PHI,
    SCALE,
    TAPS,
    DynamicOperator,
    LowRank,
    Mixture,
    RowScaled,
)
from dcd_deploy.lowering.assemble.activations import is_linear
from dcd_deploy.lowering.layers import frozen

HEADS = (PHI, SCALE, KERNELS, FILTERS, INPUTS, TAPS)


class HeadValues(NamedTuple):
    """The values of the heads (N, …, values), of the last stage, and Φ (N, …, L, L) where there is one."""

    heads: dict[str, Tensor]
    stages: Tensor
    phi: Tensor | None


def stage_names(stages: Sequence[Stage]) -> Iterator[tuple[str, Stage]]:
    """Give each stage with its name: squeeze, gate, and their numbers from the second of a kind on."""
    counts = {"squeeze": 0, "gate": 0}
    for stage in stages:
        kind = "gate" if isinstance(stage, Gated) else "squeeze"
        counts[kind] += 1
        yield kind if counts[kind] == 1 else f"{kind}{counts[kind]}", stage


def in_order(heads: Mapping[str, Dense | None]) -> list[tuple[str, Dense | None]]:
    """Return the heads in the order in which they are computed, whatever the order that the adapter found them in."""
    return sorted(heads.items(), key=lambda head: HEADS.index(head[0]))


Heads = Mapping[str, Tensor]
DenseLayer = Callable[[Tensor, Tensor | None], nn.Module]  # of weights (outputs, inputs) and a bias (outputs)


def constant_bias(operator: DynamicOperator) -> Tensor | None:
    """Return what is added whatever the heads say, P t2 + bias (K), when Φ acts on Q x + t1; None for nothing."""
    low_rank = operator.term(LowRank)
    if not isinstance(low_rank, LowRank) or low_rank.mixed_shift is None:
        return operator.bias
    mixed = low_rank.project @ low_rank.mixed_shift
    return mixed if operator.bias is None else mixed + operator.bias


@dataclass(frozen=True)
class _Shift:
    """P Φ t1 as weights and a constant on ``source``: what the stages give, or the values of Φ."""

    weight: Tensor
    constant: Tensor | None
    of_stages: bool


def _shift(operator: DynamicOperator, *, columns: bool) -> _Shift | None:
    term = operator.term(LowRank)
    if not isinstance(term, LowRank) or term.query_shift is None:
        return None
    head, latent = operator.attention.heads[PHI], term.latent
    if head is None or not is_linear(head):
        product = torch.einsum("ki,j->kij", term.project, term.query_shift)
        return _Shift((product.mT if columns else product).flatten(1), None, of_stages=False)
    phi = head.weight.view(latent, latent, -1)
    weight = term.project @ torch.einsum("ijs,j->is", phi, term.query_shift)
    if head.bias is None:
        return _Shift(weight, None, of_stages=True)
    constant = term.project @ (head.bias.view(latent, latent) @ term.query_shift)
    return _Shift(weight, constant, of_stages=True)


class Bias(nn.Module):
    """Give b(x) (N, K), or (N, 1, 1, K) if the heads are so; (K) if it is constant; None for none.

    ``operator`` has Φ by rows, but with ``columns`` its values arrive by columns. ``dense`` makes a layer on the last
    dimension.
    """

    def __init__(self, operator: DynamicOperator, dense: DenseLayer, *, columns: bool = False) -> None:
        super().__init__()
        row_scaled, mixture = operator.term(RowScaled), operator.term(Mixture)
        constant = constant_bias(operator)
        self.scaled = self.by_kernels = self.constant = self.shift = None
        if (shift := _shift(operator, columns=columns)) is not None:
            constant = _sum(shift.constant, constant)
            self.shift, self.of_stages = dense(shift.weight, constant), shift.of_stages
            constant = None
        if isinstance(mixture, Mixture) and mixture.bias is not None:
            self.filtered = FILTERS in operator.attention.heads
            self.by_kernels = dense(mixture.bias.t(), None if self.filtered else constant)
            constant = constant if self.filtered else None
        if isinstance(row_scaled, RowScaled) and row_scaled.bias is not None:
            self.scaled = frozen(row_scaled.bias)
        if constant is not None:
            self.constant = frozen(constant)

    @property
    def is_constant(self) -> bool:
        """Whether it does not depend on the input."""
        return self.constant is not None and not self.is_computed

    @property
    def is_computed(self) -> bool:
        """Whether it depends on the input."""
        return any(part is not None for part in (self.scaled, self.by_kernels, self.shift))

    @property
    def is_nothing(self) -> bool:
        """Whether there is none."""
        return self.constant is None and not self.is_computed

    def forward(self, heads: Heads, stages: Tensor) -> Tensor | None:
        """``stages`` is what the last stage gives."""
        bias: Tensor | None = None
        if self.shift is not None:
            bias = self.shift(stages if self.of_stages else heads[PHI])
        if self.by_kernels is not None:
            more: Tensor = self.by_kernels(heads[KERNELS])
            bias = _sum(more * heads[FILTERS] if self.filtered else more, bias)
        if self.scaled is not None:
            bias = _sum(heads[SCALE] * self.scaled, bias)
        return _sum(self.constant, bias)


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other
