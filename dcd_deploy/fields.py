"""Single values of a JSON document that anybody may have written; what does not fit is a ValueError that says why."""

from __future__ import annotations

import math

from dcd_deploy.errors import shown


def text(value: object) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise ValueError(f"expected text, found {type(value).__name__}")
    return value


def whole(value: object, least: int, most: int) -> int:
    """Return a whole number from ``least`` to ``most``."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{value!r:.40} is not a whole number from {least} to {most}")
    return value


def finite(value: object) -> float:
    """Return a number that is neither infinite nor NaN."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{value!r:.40} is not a finite number")
    return float(value)


def reason(error: Exception) -> str:
    """Return why a document could not be read, of what reading it raised."""
    return f"no field {error}" if isinstance(error, KeyError) else shown(str(error), 200) or type(error).__name__
