"""The figure of docs/performance.md that shows each block's parts above their rooflines, drawn from roofline.csv."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from drawing import card, sides, text
from roofline_parts import PARTS, Part, read_parts

NETWORK = "mobilenetv2_dcd_x1.0"
PANELS = {"litert-compiled": 96.0, "executorch": 476.0}  # kernel → where its bars begin
COLOURS = {"static": "static", "kernel": "dynamic", "attention": "good", "pooling": "good", "rest": "idle"}
WORDS = {
    "static": "static part",
    "dynamic": "assembling the kernel",
    "good": "attention and its pooling",
    "idle": "the rest",
}
SCALE, STEP, TOP, WIDTH = 0.32, 22, 86, 840  # pixels for a microsecond, for a block


def blocks_of(parts: Sequence[Part]) -> dict[str, list[Part]]:
    """Return the parts of each block of the network, in its order; what has no layer is not drawn."""
    blocks: dict[str, list[Part]] = {}
    for part in parts:
        if part.layer and part.layer != "input":
            name = part.layer.split(".")
            blocks.setdefault(".".join(name[:2]) if name[0] == "features" else name[0], []).append(part)
    return blocks


def bars(block: Sequence[Part], x: float, y: float) -> Iterator[str]:
    """Yield what a block takes, by part, and under it, lower, the rooflines of the same parts."""
    for value, top, height in (("us", y, 10), ("roofline_us", y + 11, 4)):
        left = x
        for colour in WORDS:
            width = SCALE * sum(getattr(part, value) for part in block if COLOURS[part.part] == colour)
            if width > 0.2:
                yield f'<rect class="{colour}" {sides(round(left, 1), top, round(width, 1), height)} stroke-width="0"/>'
            left += width


def roofline() -> str:
    """What each block of MobileNetV2-DCD ×1.0 takes in both kernels, above what it could not go below."""
    own = [part for part in read_parts() if part.file == NETWORK]
    drawn = [text(24, 30, "MobileNetV2-DCD ×1.0, microseconds; under each bar, lower, its roofline", "left head")]
    left = 24.0
    for colour, words in WORDS.items():
        drawn += [f'<rect class="{colour}" {sides(left, 42, 14, 14)}/>', text(left + 20, 54, words, "left small")]
        left += 40 + 7.2 * len(words)
    assert set(PARTS) == set(COLOURS)
    for kernel, x in PANELS.items():
        drawn.append(text(x, TOP - 10, kernel, "left"))
        blocks = blocks_of([part for part in own if part.kernel == kernel])
        for place, (name, block) in enumerate(blocks.items()):
            y = TOP + STEP * place
            drawn.append(text(x - 6, y + 11, name.removeprefix("features."), "right small"))
            drawn += bars(block, x, y)
            end = x + SCALE * sum(part.us for part in block)
            drawn.append(text(round(end + 6, 1), y + 11, f"{sum(part.us for part in block):.0f}", "left small"))
    height = TOP + STEP * len(blocks) + 14
    return card(WIDTH, height, "What each block takes, by part, above its roofline", drawn)
