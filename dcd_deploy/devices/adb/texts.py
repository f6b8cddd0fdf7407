"""Texts that a phone sends: of any length and with anything in them, until they have been through here."""

from __future__ import annotations

import unicodedata

LONGEST = 200
LINES_SHOWN = 5
BAD = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # control and format characters, surrogates, unassigned, separators


def cleaned(text: str, longest: int = LONGEST) -> str:
    """Return one line without control characters, shortened to ``longest`` characters."""
    line = "".join(" " if unicodedata.category(letter) in BAD else letter for letter in text[: 4 * longest])
    line = " ".join(line.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def first_lines(text: str, count: int = LINES_SHOWN) -> str:
    """Return the first lines that say something, in one line, for a message."""
    lines = [line for line in map(cleaned, text[:100_000].splitlines()) if line]
    return " / ".join(lines[:count]) if lines else "nothing"


def last_lines(text: str, count: int = 3) -> str:
    """Return the last lines that say something, in one line, for a message."""
    lines = [line for line in map(cleaned, text[-100_000:].splitlines()) if line]
    return " / ".join(lines[-count:]) if lines else "nothing"
