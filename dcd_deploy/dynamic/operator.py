"""The canonical dynamic convolution: a kernel that is a sum of terms, which the heads of one attention weigh.

    y = W(x) * x + b(x),     W(x) = Σ terms(c(x)),     c = heads of the attention

    RowScaled   λ ⊙ W0                                  λ = "scale" (N, K)
    LowRank     P Φ Q, on the tap that Q reads          Φ = "phi" (N, L, L)
    Mixture     Σ_m π_m W_m                             π = "kernels" (N, M); optionally ⊙ α_out ("filters", N, K),
                                                        α_in ("inputs", N, C), α_tap ("taps", N, kh·kw)

Dynamic convolution by matrix decomposition (arXiv 2103.08756, eq. 4 and 8) is RowScaled + LowRank; dynamic convolution
(arXiv 1912.03458) and CondConv (arXiv 1904.04971) are a Mixture; ODConv (arXiv 2209.07947) one with all scales. All
tensors are float64. C channels in, K out, L latent, M kernels.

Where a module is none, an adapter's ``Refusal`` says to which family it is nearest, and which part of it is outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from dcd_deploy.dynamic.attention import Attention

SCALE, PHI = "scale", "phi"
KERNELS, FILTERS, INPUTS, TAPS = "kernels", "filters", "inputs", "taps"

Pair = tuple[int, int]


@dataclass(frozen=True)
class ConvGeometry:
    """The convolution by W(x). ``vector``: its input is (N, C), and its output (N, K)."""

    C: int
    K: int
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    padding_mode: str = "zeros"
    vector: bool = False

    @property
    def taps(self) -> int:
        """Positions of the kernel."""
        return self.kernel[0] * self.kernel[1]

    @property
    def pointwise(self) -> bool:
        """Whether the kernel is 1×1, dense and unpadded: a matrix for each pixel."""
        return self.taps == 1 and self.groups == 1 and self.padding == (0, 0)

    @property
    def depthwise(self) -> bool:
        """Whether each channel has a filter of its own."""
        return 1 < self.groups == self.C == self.K

    def output(self, x: Sequence[int]) -> tuple[int, ...] | None:
        """Return the shape of the output for maps x (N, C, H, W) or vectors (N, C); None where it takes none such."""
        sides = [] if self.vector else [*zip(self.kernel, self.stride, self.padding, self.dilation, strict=True)]
        if len(x) != 2 + len(sides) or x[1] != self.C:
            return None
        reached = [side + 2 * p - d * (k - 1) - 1 for side, (k, _, p, d) in zip(x[2:], sides, strict=True)]
        if any(one < 0 for one in reached):
            return None
        return (x[0], self.K, *(one // s + 1 for one, (_, s, _, _) in zip(reached, sides, strict=True)))

    @property
    def origin(self) -> Pair:
        """The tap that lies on every stride-th pixel itself: what a 1×1 convolution of the same stride reads."""
        return self.padding[0] // self.dilation[0], self.padding[1] // self.dilation[1]


@dataclass(frozen=True)
class RowScaled:
    """λ ⊙ (W0 * x + b0); W0 (K, C/groups, kh, kw), b0 (K) or None, inside λ."""

    weight: Tensor
    bias: Tensor | None = None


@dataclass(frozen=True)
class LowRank:
    """P (Φ (Q x + t1) + t2); P (K, L), Q (L, C), t1 and t2 (L) or None. Q has the stride of W(x) and no padding."""

    project: Tensor
    query: Tensor
    query_shift: Tensor | None = None
    mixed_shift: Tensor | None = None

    @property
    def latent(self) -> int:
        """L."""
        return int(self.query.shape[0])


@dataclass(frozen=True)
class Mixture:
    """Σ_m π_m (W_m * x + b_m); the bank of W_m (M, K, C/groups, kh, kw), b (M, K) or None.

    The heads "filters", "inputs" and "taps" scale the kernel where the attention has them, "filters" the bias too.
    """

    bank: Tensor
    bias: Tensor | None = None


Term = RowScaled | LowRank | Mixture
AnyTerm = TypeVar("AnyTerm", RowScaled, LowRank, Mixture)


@dataclass(frozen=True)
class DynamicOperator:
    """A dynamic convolution of a ``family`` (the name of its adapter); ``bias`` (K) or None is outside all heads."""

    family: str
    geometry: ConvGeometry
    attention: Attention
    terms: tuple[Term, ...]
    bias: Tensor | None = None

    def term(self, kind: type[AnyTerm]) -> AnyTerm | None:
        """Return the term of a kind, of which there is one at the most."""
        return next((term for term in self.terms if isinstance(term, kind)), None)


@dataclass(frozen=True)
class Refusal:
    """``reason`` names the part and says what is wrong with it: "bn1 is a GroupNorm: it depends on the data"."""

    family: str
    reason: str

    def __str__(self) -> str:
        return f"{self.family}: {self.reason}"


class OutsideError(Exception):
    """Raised inside an adapter where a part is outside the canonical operator; ``refused`` makes a value of it."""
