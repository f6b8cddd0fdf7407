"""Values of command-line options: texts → what ``commands`` takes."""

from __future__ import annotations

import math
import re

from dcd_deploy.errors import OptionError

Triple = tuple[float, float, float]


def parse_size(text: str) -> tuple[int, int]:
    """Return (height, width) of ``224`` or ``192x256``."""
    match = re.fullmatch(r"(\d{1,5})(?:[x×](\d{1,5}))?", text.strip())
    if not match:
        raise OptionError(f"expected --input-size as a side or HEIGHTxWIDTH (224, 192x256), found '{text}'")
    return int(match[1]), int(match[2] or match[1])


def parse_batch(text: str) -> int | None:
    """Return the number, or None for ``dynamic``."""
    if text == "dynamic":
        return None
    if not re.fullmatch(r"\d{1,6}", text):
        raise OptionError(f"expected --batch as a number or 'dynamic', found '{text}'")
    return int(text)


def parse_triple(option: str, text: str | None) -> Triple | None:
    """Return three numbers separated by commas, or None for None."""
    if text is None:
        return None
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError:
        raise OptionError(f"expected {option} as three numbers such as 0.5,0.5,0.5, found '{text}'") from None
    if not all(map(math.isfinite, (red, green, blue))):
        raise OptionError(f"expected finite numbers for {option}, found '{text}'")
    return red, green, blue
