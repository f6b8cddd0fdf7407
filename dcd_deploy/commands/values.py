"""Values of options, as texts or as Python has them: both the command line and ``commands`` take either."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path

from dcd_deploy.errors import OptionError

Triple = tuple[float, float, float]
Size = str | int | tuple[int, int]
Batch = str | int | None
Counts = str | int | Sequence[int]
Channels = str | Sequence[float] | None
Shape = str | Sequence[int]

MOST_AXES = 5
MOST_VALUES = 1 << 28  # of one input: beyond it its float64 maps alone fill a machine


def parse_size(value: Size) -> tuple[int, int]:
    """Return (height, width) of ``224``, ``"192x256"`` or ``(192, 256)``."""
    if isinstance(value, str) and (match := re.fullmatch(r"(\d{1,5})(?:[x×](\d{1,5}))?", value.strip())):
        return int(match[1]), int(match[2] or match[1])
    if _whole(value):
        return int(value), int(value)  # type: ignore[arg-type]  # a whole number, as just seen
    if isinstance(value, Sequence) and len(value) == 2 and all(map(_whole, value)):
        return int(value[0]), int(value[1])
    raise OptionError(expected="`input_size` as a side or HEIGHTxWIDTH (224, 192x256)", found=_shown(value))


def size_text(value: Size) -> str:
    """Return a size as the command line has it: as it was written there, "64", or "192x256" of (192, 256)."""
    return value if isinstance(value, str) else "x".join(map(str, dict.fromkeys(parse_size(value))))


def parse_shape(value: Shape) -> tuple[int, ...]:
    """Return (C, H, W) of ``"3,224,224"`` or ``(3, 224, 224)``; signals, clips and vectors have other axes."""
    parts: Sequence[object] = value.split(",") if isinstance(value, str) else value
    try:
        texts = [str(part).strip() for part in parts]
    except TypeError:
        texts = []
    if not 1 <= len(texts) <= MOST_AXES or not all(re.fullmatch(r"[1-9]\d{0,5}", text) for text in texts):
        raise OptionError(
            expected="`input_shape` as C,H,W such as 3,224,224 (a signal's as C,L, a vector's as its length)",
            found=_shown(value),
        )
    sizes = tuple(map(int, texts))
    if math.prod(sizes) > MOST_VALUES:
        raise OptionError(expected=f"an `input_shape` of at most {MOST_VALUES} values", found=_shown(value))
    return sizes


def parse_batch(value: Batch) -> int | None:
    """Return the number of ``2`` or ``"2"``, or None for ``"dynamic"`` or None."""
    if value is None or value == "dynamic":
        return None
    if isinstance(value, str) and re.fullmatch(r"\d{1,6}", value):
        value = int(value)
    if not _whole(value):
        raise OptionError(expected="`batch` as a number or 'dynamic'", found=_shown(value))
    if int(value) < 1:
        raise OptionError(expected="a `batch` of at least 1, or 'dynamic'", found=value)
    return int(value)


def parse_triple(parameter: str, value: Channels) -> Triple | None:
    """Return the three numbers of ``"0.5,0.5,0.5"`` or of a sequence, or None for None."""
    if value is None:
        return None
    try:
        red, green, blue = (float(part) for part in (value.split(",") if isinstance(value, str) else value))
    except (TypeError, ValueError):
        raise OptionError(expected=f"`{parameter}` as three numbers, such as .5,.5,.5", found=_shown(value)) from None
    if not all(map(math.isfinite, (red, green, blue))):
        raise OptionError(expected=f"finite numbers for `{parameter}`", found=_shown(value))
    return red, green, blue


def parse_count(parameter: str, value: int, most: int) -> int:
    """Return a whole number from 1 to ``most``."""
    if not _whole(value) or not 1 <= value <= most:
        raise OptionError(expected=f"`{parameter}` as a whole number from 1 to {most}", found=_shown(value))
    return int(value)


def parse_counts(parameter: str, value: Counts) -> tuple[int, ...]:
    """Return the whole numbers, each at least 0, of ``2``, ``"1,2"`` or ``(1, 2)``, each once."""
    parts = [value] if isinstance(value, str | int) else value
    texts = [text.strip() for part in parts for text in str(part).split(",")]
    if not texts or not all(re.fullmatch(r"\d{1,6}", text) for text in texts):
        raise OptionError(expected=f"`{parameter}` as whole numbers such as 1,2", found=_shown(value))
    return tuple(dict.fromkeys(map(int, texts)))


def parse_strides(value: Counts) -> tuple[int, ...]:
    """Return the whole numbers of ``"2,1,2"`` or ``(2, 1, 2)``; one may come several times."""
    parts = value.split(",") if isinstance(value, str) else [value] if isinstance(value, int) else value
    if not parts or not all(re.fullmatch(r"\d{1,3}", str(part).strip()) for part in parts):
        raise OptionError(expected="`strides` as whole numbers such as 2,1,2,2,2", found=_shown(value))
    return tuple(int(part) for part in parts)


def parse_names(value: str | Path | Sequence[str | Path]) -> tuple[str, ...]:
    """Return the names of ``"a,b"`` or ``("a", "b")``, each once; a path is one, whatever is in it."""
    given = (value,) if isinstance(value, str | Path) else value
    parts = [part for each in given for part in (each.split(",") if isinstance(each, str) else [str(each)])]
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))


def parse_tolerance(value: float) -> float:
    """Return a number between 0 and 1, both excluded."""
    if not _real(value) or not 0 < value < 1:
        raise OptionError(expected="a `tolerance` between 0 and 1", found=_shown(value))
    return float(value)


def parse_amount(parameter: str, value: float, unit: str = "seconds") -> float:
    """Return a finite number of a unit that is not negative."""
    if not _real(value) or not 0 <= value < math.inf:
        raise OptionError(expected=f"`{parameter}` as a number of {unit}, at least 0", found=_shown(value))
    return float(value)


def _whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _real(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _shown(value: object) -> str:
    return repr(value)[:80]
