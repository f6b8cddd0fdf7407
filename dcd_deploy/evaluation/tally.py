"""Exact counts of what one model answered: they add up to the same in any order and any parts.

The energies of signal and noise are sums of float64 numbers, one for each image, kept as fractions: no rounding.

    signal = Σ y²    noise = Σ (y' − y)²     y the network's logits, y' the model's
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.fields import whole

Logits = NDArray[np.floating]
TOP = 5
MOST = 1 << 64  # nanoseconds, or images
FRACTION = re.compile(r"\d{1,2000}(/[1-9]\d{0,2000})?")  # no exponent, which could make it as long as memory


@dataclass(frozen=True)
class Tally:
    """Of ``images`` so many have the label as first answer, among the first five, and the network's answer.

    ``lost`` images are right with the network alone, ``gained`` ones with the model alone. ``calibration`` of them were
    used to calibrate the model. ``nanoseconds`` is the time of all runs.
    """

    images: int = 0
    top1: int = 0
    top5: int = 0
    agreed: int = 0
    lost: int = 0
    gained: int = 0
    calibration: int = 0
    nanoseconds: int = 0
    signal: Fraction = Fraction(0)
    noise: Fraction = Fraction(0)

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    def as_plain(self) -> dict[str, int | str]:
        """Return it as JSON has it; fractions are texts."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: str(value) if isinstance(value, Fraction) else value for name, value in values.items()}

    @classmethod
    def from_plain(cls, data: dict[str, Any]) -> Tally:
        """Read it back from what anybody may have written.

        Raises:
            ValueError, TypeError, KeyError: it is no tally, or its counts contradict each other.
        """
        names = [each.name for each in fields(cls) if each.name not in ("signal", "noise")]
        counts = {name: whole(data[name], 0, MOST) for name in names}
        found = cls(**counts, signal=_sum(data["signal"]), noise=_sum(data["noise"]))
        most = max(found.top5, found.agreed + found.lost + found.gained, found.calibration)
        if most > found.images or found.top1 > found.top5 or found.gained > found.top1:
            raise ValueError("counts that contradict each other")
        return found


def count_answers(
    logits: Logits, labels: tuple[int, ...], reference: Logits | None, *, calibration: int = 0, nanoseconds: int = 0
) -> Tally:
    """Return the tally of logits (N, classes), beside those of the network where there are some."""
    order = np.argsort(-logits, axis=1, kind="stable")[:, :TOP]
    wanted = np.array(labels)
    right = order[:, 0] == wanted
    counts = {"top1": right.sum(), "top5": (order == wanted[:, None]).any(axis=1).sum()}
    signal = noise = Fraction(0)
    if reference is not None:
        said = np.argsort(-reference, axis=1, kind="stable")[:, 0]
        true = said == wanted
        counts |= {
            "agreed": (order[:, 0] == said).sum(),
            "lost": (true & ~right).sum(),
            "gained": (right & ~true).sum(),
        }
        signal = _energy(reference)
        noise = _energy(logits.astype(np.float64) - reference)
    whole_counts = {name: int(value) for name, value in counts.items()}
    return Tally(
        len(labels), **whole_counts, calibration=calibration, nanoseconds=nanoseconds, signal=signal, noise=noise
    )


def _energy(rows: Logits) -> Fraction:
    """Return the sum over the images of their sums of squares, each rounded once."""
    squares = np.square(rows.astype(np.float64))
    return sum((Fraction(math.fsum(row.tolist())) for row in squares), Fraction(0))


def _sum(value: object) -> Fraction:
    if not isinstance(value, str) or not FRACTION.fullmatch(value):
        raise ValueError(f"{value!r:.40} is not a fraction in text")
    return Fraction(value)
