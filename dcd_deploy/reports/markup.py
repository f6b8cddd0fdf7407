"""HTML in which every text is escaped unless it is an element that was made here."""

from __future__ import annotations

import html
from collections.abc import Iterable

from dcd_deploy.reports.numbers import plain

VOID = ("meta", "br")  # elements without an end


class Markup(str):
    """A text that is HTML already."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str) -> Markup:
    """Return ``<tag …>children</tag>``; attributes as ``class_`` and ``aria_label``, where ``_`` stands for ``-``."""
    pairs = [f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items()]
    start = f"<{tag}{''.join(pairs)}>"
    return Markup(start if tag in VOID else f"{start}{join(children)}</{tag}>")


def join(children: Iterable[str]) -> Markup:
    """Return the children one after the other, each escaped if it is not Markup."""
    return Markup("".join(child if isinstance(child, Markup) else escape(child) for child in children))


def escape(text: str) -> Markup:
    """Return a text as HTML shows it; control characters are made visible."""
    return Markup(html.escape(plain(text)))


def label(text: str, longest: int = 46) -> str:
    """Return a text for Plotly, which takes a little HTML in labels for markup; a long one loses its middle."""
    return html.escape(shortened(text, longest), quote=False)


def shortened(text: str, longest: int) -> str:
    """Return a text with its control characters visible, and without its middle if it is longer than ``longest``."""
    text, half = plain(text), (longest - 1) // 2
    return text if len(text) <= longest else f"{text[:half]}…{text[-half:]}"
