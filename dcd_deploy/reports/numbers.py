"""How numbers and foreign texts are written."""

from __future__ import annotations

from dcd_deploy.errors import PARAMETER

UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def count(value: float) -> str:
    """Return 300774272 as ``301 M``, or ``1.26 k``."""
    for size, unit in UNITS:
        if value >= size:
            return f"{value / size:.{_digits(value / size)}f} {unit}"
    return f"{value:g}"


def size(value: int) -> str:
    """Return a number of bytes as ``23.1 MB``."""
    return f"{count(value)}B" if value >= UNITS[-1][0] else f"{value} B"


def milliseconds(value: float) -> str:
    """Return three significant digits and the unit."""
    return f"{value:.{max(0, _digits(value) + (value < 1))}f} ms"


def percent(share: float) -> str:
    """Return 0.0881 as ``8.8 %``."""
    return f"{100 * share:.1f} %"


def error(value: float) -> str:
    """Return a relative error as ``4.4e-06``."""
    return f"{value:.1e}"


def plain(text: str) -> str:
    """Return a text from a file with everything that could steer a terminal made visible instead."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def spelled(text: str) -> str:
    """Return a text of the library, which names parameters as `input_size`, with the command line's flags."""
    return PARAMETER.sub(lambda named: f"--{named[1].rstrip('_').replace('_', '-')}", text)


def _digits(value: float) -> int:
    return 2 if value < 10 else 1 if value < 100 else 0
