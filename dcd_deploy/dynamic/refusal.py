"""A refusal is a value: which family a module is nearest to, and which part of it is outside the canonical operator."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """``reason`` names the part and says what is wrong with it: "bn1 is a GroupNorm: it depends on the data"."""

    family: str
    reason: str

    def __str__(self) -> str:
        return f"{self.family}: {self.reason}"


class OutsideError(Exception):
    """Raised inside an adapter where a part is outside the canonical operator; ``refused`` makes a value of it."""
