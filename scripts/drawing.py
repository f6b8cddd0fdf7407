"""What the figures are drawn with: boxes, arrows, lines of text, on a card.

Each figure is a card with a ground of its own, light or dark as the reader's system is, so that it is legible on both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

STYLE = """
  text { font: 15px system-ui, Roboto, "DejaVu Sans", sans-serif; fill: #1f2328; text-anchor: middle }
  .left { text-anchor: start } .right { text-anchor: end }
  .small { font-size: 12.5px; fill: #57606a } .head { font-weight: 600 }
  .card { fill: #f6f8fa; stroke: #d0d7de }
  .line { stroke: #57606a; stroke-width: 1.6; fill: none } .tip { fill: #57606a }
  .plain { fill: #ffffff; stroke: #8c959f } .static { fill: #cfe3fb; stroke: #0969da }
  .dynamic { fill: #ffdfc2; stroke: #bc4c00 } .good { fill: #c8f0d2; stroke: #1a7f37 }
  .idle { fill: #e3e7eb; stroke: #8c959f }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .small { fill: #a3adb8 } .card { fill: #161b22; stroke: #30363d }
    .line { stroke: #a3adb8 } .tip { fill: #a3adb8 } .plain { fill: #21262d; stroke: #8b949e }
    .static { fill: #123a66; stroke: #58a6ff } .dynamic { fill: #5a2e0c; stroke: #f0883e }
    .good { fill: #12401f; stroke: #3fb950 } .idle { fill: #30363d; stroke: #8b949e }
  }"""
TIP = (
    '<marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">'
    '<path class="tip" d="M0 0L10 5L0 10z"/></marker>'
)


@dataclass(frozen=True)
class Box:
    """A rounded box with lines of text, the first of them its heading."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    lines: tuple[str, ...]

    @property
    def middle(self) -> float:
        """The height of its middle."""
        return self.y + self.height / 2

    def __str__(self) -> str:
        """Return its SVG."""
        top = self.middle - 9.5 * (len(self.lines) - 1) + 5
        parts = [f'<rect class="{self.kind}" {sides(self.x, self.y, self.width, self.height)} rx="8"/>']
        for place, line in enumerate(self.lines):
            kind = "head" if place == 0 else "small"
            parts.append(text(self.x + self.width / 2, top + 19 * place, line, kind))
        return "".join(parts)


def sides(x: float, y: float, width: float, height: float) -> str:
    """Return the attributes of a rectangle."""
    return f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'


def text(x: float, y: float, words: str, kind: str = "") -> str:
    """Return a line of text around ``x``, or beside it where the kind says so."""
    escaped = words.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{escaped}</text>'


def arrow(*points: tuple[float, float]) -> str:
    """Return a line through the points, with a tip at the last."""
    path = "L".join(f"{x:g} {y:g}" for x, y in points)
    return f'<path class="line" marker-end="url(#tip)" d="M{path}"/>'


def row(boxes: Sequence[Box]) -> Iterator[str]:
    """Yield arrows from each box to the next on its right."""
    for one, other in pairwise(boxes):
        yield arrow((one.x + one.width, one.middle), (other.x, one.middle))


def card(width: int, height: int, title: str, parts: Iterable[object]) -> str:
    """Return a whole figure; ``title`` is what a screen reader says of it."""
    inside, size = "\n".join(map(str, parts)), f'width="{width}" height="{height}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {size} role="img">\n'
        f"<title>{title}</title>\n<style>{STYLE}\n</style>\n<defs>{TIP}</defs>\n"
        f'<rect class="card" {sides(0.5, 0.5, width - 1, height - 1)} rx="12"/>\n{inside}\n</svg>\n'
    )
