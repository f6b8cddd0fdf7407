"""Draw the figures of README.md and docs/ as SVG, from the tables of docs/performance.md where they show numbers."""

from __future__ import annotations

import re

from drawing import Box, arrow, card, row, sides, text
from pages import DOCS, PERFORMANCE
from phone_figures import android, ios
from roofline_figure import roofline

FIGURES = DOCS / "figures"


def speed_row(network: str, target: str) -> dict[str, str]:
    """Return a row of the table "networks × targets" of docs/performance.md, by its columns' names."""
    table = PERFORMANCE.read_text(encoding="utf-8").partition("<!-- speed: begin -->")[2]
    rows = re.findall(r"^\| (.*) \|$", table, re.MULTILINE)
    names = next(row for row in rows if row.startswith("network | runtime | target")).split(" | ")
    found = next(row for row in rows if row.startswith(f"{network} |") and f" | {target} | " in row)
    return dict(zip(names, found.split(" | "), strict=True))


def way() -> str:
    """Checkpoint → verified file → phone, and how many times as long it takes there as its static twin."""
    network, others = "mobilenetv2_dcd_x1.0", "2.3–3.4 ×"
    ratios = [float(speed_row(network, target)["ratio (95 %)"].split()[0]) for target in ("litert", "onnxruntime-x86")]
    ours = f"{min(ratios):.2f}–{max(ratios):.2f} ×"
    boxes = [
        Box(24, 34, 200, 92, "plain", ("trained network", "checkpoint, or", "any torch.nn.Module")),
        Box(304, 34, 232, 92, "good", ("verified file", ".onnx, .tflite", "within 5e-5 of the float64 network")),
        Box(616, 34, 200, 92, "plain", ("phone, board, server", "onnxruntime or LiteRT,", "and numpy; no torch")),
    ]
    unit = 125
    bars = [
        ("the matching static network", 1.0, "1 ×", "idle"),
        ("dynamic, by dcd-deploy", max(ratios), ours, "good"),
        ("dynamic, as torch exports it", 3.4, others, "dynamic"),
    ]
    parts: list[str] = [
        *map(str, boxes),
        *row(boxes),
        text(264, 68, "export", "small"),
        text(576, 68, "bench", "small"),
    ]
    for place, (name, length, words, kind) in enumerate(bars):
        y = 160 + 36 * place
        parts.append(text(270, y + 18, name, "right"))
        parts.append(f'<rect class="{kind}" {sides(284, y, unit * length, 26)} rx="5"/>')
        parts.append(text(284 + unit * length + 10, y + 19, words, "left head"))
    caption = "time of one inference of MobileNetV2-DCD ×1.0; x86-64, one thread; as torch exports it: AVX2 to AVX-512"
    parts.append(text(24, 290, caption, "small left"))
    return card(840, 308, "From a trained checkpoint to a verified file on a phone, and the time it takes", parts)


def dynamic_convolution() -> str:
    """A static convolution beside a dynamic one."""
    x, conv, y = (
        Box(24, 40, 110, 52, "plain", ("map x",)),
        Box(250, 40, 190, 52, "static", ("x * W", "the same W for all inputs")),
        Box(560, 40, 110, 52, "plain", ("map y",)),
    )
    second = [
        Box(24, 226, 110, 60, "plain", ("map x",)),
        Box(250, 226, 190, 60, "static", ("x * W(x)", "a kernel for this input")),
        Box(560, 226, 110, 60, "plain", ("map y",)),
    ]
    attention = Box(116, 136, 180, 58, "dynamic", ("attention", "pool, squeeze, heads"))
    made = Box(376, 136, 380, 58, "dynamic", ("W(x) = λ(x) ⊙ W0 + P Φ(x) Q", "DCD; a mixture: W(x) = Σ π(x) W"))
    parts = [*map(str, (x, conv, y, *second, attention, made)), *row((x, conv, y)), *row(second)]
    parts += [
        arrow((79, 226), (79, 165), (116, 165)),
        arrow((296, 165), (376, 165)),
        text(336, 156, "λ, Φ, π", "small"),
        arrow((420, 194), (420, 226)),
        text(24, 24, "static", "left head"),
        text(24, 122, "dynamic", "left head"),
    ]
    return card(780, 310, "A static convolution has one kernel; a dynamic one makes its kernel from the input", parts)


def orders() -> str:
    """The branch order and the kernel order of the same layer."""
    return card(840, 432, "Two orders of computation of one dynamic layer", [*_branch_order(), *_kernel_order()])


def _branch_order() -> list[str | Box]:
    return [
        text(24, 28, "branch order: convolve by each part, then combine the maps", "left head"),
        Box(24, 76, 84, 52, "plain", ("map x",)),
        Box(170, 48, 150, 46, "static", ("x * W0",)),
        Box(170, 112, 150, 46, "static", ("x * Q", "L channels")),
        Box(370, 48, 170, 46, "dynamic", ("times λ(x)", "each channel")),
        Box(370, 112, 80, 46, "dynamic", ("Φ(x)",)),
        Box(490, 112, 80, 46, "static", ("P",)),
        Box(640, 76, 40, 52, "dynamic", ("+",)),
        Box(730, 76, 84, 52, "plain", ("map y",)),
        arrow((108, 94), (140, 71), (170, 71)),
        arrow((108, 110), (140, 135), (170, 135)),
        arrow((320, 71), (370, 71)),
        arrow((320, 135), (370, 135)),
        arrow((450, 135), (490, 135)),
        arrow((540, 71), (600, 71), (640, 94)),
        arrow((570, 135), (600, 135), (640, 110)),
        arrow((680, 102), (730, 102)),
        text(
            24,
            184,
            "pays for maps: passes over H·W pixels. Good on small maps and for large kernels.",
            "left small",
        ),
    ]


def _kernel_order() -> list[str | Box]:
    return [
        text(24, 232, "kernel order: combine the weights, then convolve once", "left head"),
        Box(24, 334, 84, 52, "plain", ("map x",)),
        Box(170, 256, 300, 52, "dynamic", ("W(x) = λ(x) ⊙ W0 + P Φ(x) Q", "K × C numbers, no map")),
        Box(490, 334, 150, 52, "static", ("x * W(x)",)),
        Box(730, 334, 84, 52, "plain", ("map y",)),
        arrow((66, 334), (66, 282), (170, 282)),
        arrow((470, 282), (565, 282), (565, 334)),
        arrow((108, 360), (490, 360)),
        arrow((640, 360), (730, 360)),
        text(118, 274, "λ, Φ", "small"),
        text(24, 412, "pays for weights: K·C numbers made anew. Good on large maps and for 1×1 kernels.", "left small"),
    ]


KINDS = {  # what the figure calls it: the rows of docs/performance.md's table, its colour
    "convolutions": (("convolutions",), "static"),
    "attention, λ, P Φ Q, sums": (
        ("Gemm, FusedGemm, MatMul", "products and sums", "pooling", "λ' spread, hard sigmoids by themselves"),
        "dynamic",
    ),
    "layout changes, reshapes, padding": (("layout changes", "reshapes, padding"), "idle"),
}


def microseconds(kind: str, column: int) -> int:
    """Return a cell of docs/performance.md's table of where the time goes; 0 where it is empty."""
    table = PERFORMANCE.read_text(encoding="utf-8").partition("| what | twin | before | today |")[2]
    line = re.search(rf"^\| {re.escape(kind)} \|(.*)\|$", table, re.MULTILINE)
    assert line is not None
    number = re.match(r"\d+", line[1].split("|")[column].strip())
    return int(number[0]) if number else 0


def time_by_kind() -> str:
    """Where the time of MobileNetV2-DCD ×0.5 goes on onnxruntime, beside its static twin."""
    scale, left, parts = 0.18, 150, []
    parts.append(text(24, 30, "MobileNetV2-DCD ×0.5 on onnxruntime, x86-64: microseconds by its profiler", "left head"))
    sums = {name: [sum(microseconds(row, c) for row in rows) for c in (0, 2)] for name, (rows, _) in KINDS.items()}
    for place, name in enumerate(("static twin", "dynamic")):
        x, y = float(left), 50 + 52 * place
        parts.append(text(left - 14, y + 23, name, "right"))
        for kind, (_, colour) in KINDS.items():
            width = sums[kind][place] * scale
            parts.append(f'<rect class="{colour}" {sides(x, y, width, 36)}/>')
            x += width
        parts.append(text(x + 10, y + 23, f"{sum(both[place] for both in sums.values())}", "left"))
    for place, (name, (_, colour)) in enumerate(KINDS.items()):
        y = 164 + 26 * place
        parts.append(f'<rect class="{colour}" {sides(left, y, 16, 16)}/>')
        parts.append(text(left + 24, y + 13, f"{name}: {sums[name][0]} → {sums[name][1]}", "left small"))
    return card(840, 250, "Where the time goes in a dynamic network and in its static twin", parts)


ALL = {
    "way.svg": way,
    "dynamic-convolution.svg": dynamic_convolution,
    "orders.svg": orders,
    "time.svg": time_by_kind,
    "roofline.svg": roofline,
    "app-android.svg": android,
    "app-ios.svg": ios,
}


def main() -> None:
    """Draw them all."""
    FIGURES.mkdir(exist_ok=True)
    for name, draw in ALL.items():
        (FIGURES / name).write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
