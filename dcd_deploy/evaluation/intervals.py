"""Confidence intervals of counts.

Wilson's score interval of a proportion k / n (Wilson 1927), and Newcombe's interval of the difference of two
proportions of the same images (Newcombe 1998, "Improved confidence intervals for the difference between binomial
proportions based on paired data", method 10), which puts two of Wilson's together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Z = 1.959963984540054  # of a normal distribution, both sides together


@dataclass(frozen=True)
class Proportion:
    """``count`` of ``total``, and the interval around its ``share``."""

    count: int
    total: int
    share: float
    low: float
    high: float

    @classmethod
    def of(cls, count: int, total: int) -> Proportion:
        """Return a proportion with Wilson's interval; ``total`` is not 0."""
        share, z2 = count / total, Z * Z
        middle = (share + z2 / (2 * total)) / (1 + z2 / total)
        half = Z / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
        low, high = max(0.0, middle - half), min(1.0, middle + half)
        return cls(count, total, share, 0.0 if count == 0 else low, 1.0 if count == total else high)


@dataclass(frozen=True)
class Difference:
    """A difference of two shares, and the interval around it."""

    value: float
    low: float
    high: float


def paired_difference(both: int, lost: int, gained: int, neither: int) -> Difference:
    """Return the second's share of right answers less the first's.

    Of the images ``both`` are right with both, ``lost`` with the first alone, ``gained`` with the second alone.
    """
    total = both + lost + gained + neither
    first, second = Proportion.of(both + lost, total), Proportion.of(both + gained, total)
    phi = _correlation(both, lost, gained, neither)
    value = (gained - lost) / total
    down = _joined(second.share - second.low, first.high - first.share, phi)
    up = _joined(second.high - second.share, first.share - first.low, phi)
    return Difference(value, value - down, value + up)


def _joined(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(0.0, one * one - 2 * phi * one * other + other * other))


def _correlation(both: int, lost: int, gained: int, neither: int) -> float:
    """Return how the two go together, corrected for continuity where that is positive."""
    margins = (both + lost) * (gained + neither) * (both + gained) * (lost + neither)
    if not margins:
        return 0.0
    product, half = both * neither - lost * gained, (both + lost + gained + neither) / 2
    return (max(product - half, 0.0) if product > 0 else product) / math.sqrt(margins)
