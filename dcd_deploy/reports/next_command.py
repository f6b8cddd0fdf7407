"""What to type next, with the options by which a network was named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def network_words(options: Mapping[str, Any]) -> list[str]:
    """Return the options that say which network it is, and what of it is kept whole, as words of a command line."""
    words: list[str] = []
    if network := options.get("network"):
        words += ["--network", network]
        words += ["--network-args", arguments] if (arguments := options.get("network_args")) else []
    return words + [word for path in options.get("leaf") or () for word in ("--leaf", path)]
