"""The sizes of a dynamic convolution, without its weights: what its cost, and a measurement of it, depends on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dcd_deploy.dynamic.attention import Dense, Gated
from dcd_deploy.dynamic.operator import ConvGeometry, DynamicOperator, LowRank, Mixture, RowScaled

ROW_SCALED, LOW_RANK, MIXTURE = "row scaled", "low rank", "mixture"
TERMS = {RowScaled: ROW_SCALED, LowRank: LOW_RANK, Mixture: MIXTURE}


@dataclass(frozen=True)
class MapSize:
    """Height and width of a layer's input and output (1×1 for vectors)."""

    in_height: int
    in_width: int
    out_height: int
    out_width: int

    @property
    def inputs(self) -> int:
        """Pixels in."""
        return self.in_height * self.in_width

    @property
    def outputs(self) -> int:
        """Pixels out."""
        return self.out_height * self.out_width


@dataclass(frozen=True)
class OperatorShape:
    """``stages`` and ``heads`` are (kind or name, outputs, inputs); inputs are 0 where a head has no weights.

    ``latent`` is L, and ``kernels`` M; 0 without such a term.
    """

    family: str
    geometry: ConvGeometry
    own: bool
    pool: tuple[int, int] | None
    stages: tuple[tuple[str, int, int], ...]
    heads: tuple[tuple[str, int, int], ...]
    terms: tuple[str, ...]
    latent: int
    kernels: int

    @property
    def attention_macs(self) -> int:
        """Multiply-adds from the pooled values to the heads; each is by a weight of its own, so weights too."""
        return sum(outputs * inputs for _, outputs, inputs in (*self.stages, *self.heads))

    @property
    def kernel_size(self) -> int:
        """Weights of one kernel W(x)."""
        g = self.geometry
        return g.K * (g.C // g.groups) * g.taps


def shape_of(operator: DynamicOperator) -> OperatorShape:
    """Return the sizes of an operator."""
    attention = operator.attention
    low_rank, mixture = operator.term(LowRank), operator.term(Mixture)
    return OperatorShape(
        family=operator.family,
        geometry=operator.geometry,
        own=attention.own,
        pool=attention.pool,
        stages=tuple(("gated" if isinstance(s, Gated) else "dense", *s.weight.shape) for s in attention.stages),
        heads=tuple((name, *_sizes(head)) for name, head in attention.heads.items()),
        terms=tuple(TERMS[type(term)] for term in operator.terms),
        latent=low_rank.latent if isinstance(low_rank, LowRank) else 0,
        kernels=len(mixture.bank) if isinstance(mixture, Mixture) else 0,
    )


def _sizes(head: Dense | None) -> tuple[int, int]:
    return (0, 0) if head is None else (int(head.weight.shape[0]), int(head.weight.shape[1]))


def macs_as_trained(shape: OperatorShape, pixels: int) -> int:
    """Return the multiply-adds of the layer in the order in which it is trained, for ``pixels`` of its output.

    The published decomposition convolves by W0, Q and P and mixes by Φ in between; the other families compute W(x)
    once for each sample, M multiply-adds a weight, and convolve by it.
    """
    macs = shape.attention_macs
    g, latent = shape.geometry, shape.latent
    if ROW_SCALED in shape.terms:
        macs += shape.kernel_size * pixels
    if LOW_RANK in shape.terms:
        macs += latent * (g.C + latent + g.K) * pixels
    if MIXTURE in shape.terms:
        macs += shape.kernel_size * (shape.kernels + pixels)
    return macs


def static_macs(shape: OperatorShape, pixels: int) -> int:
    """Return the multiply-adds of the static twin's layer."""
    return shape.kernel_size * pixels


def pooled_values(shape: OperatorShape) -> int:
    """Return how many values the attention sees."""
    return shape.geometry.C * math.prod(shape.pool or (1, 1))
