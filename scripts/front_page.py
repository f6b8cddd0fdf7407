"""Write README.md's table of results from docs/performance.md's, so that both say the same."""

from __future__ import annotations

import re

from figures import speed_row
from pages import PERFORMANCE, README, write_part

ROWS = (
    ("mobilenetv2_dcd_x0.5", "MobileNetV2-DCD ×0.5", "litert"),
    ("mobilenetv2_dcd_x1.0", "MobileNetV2-DCD ×1.0", "litert"),
    ("mobilenetv2_dcd_x1.0", "MobileNetV2-DCD ×1.0", "onnxruntime-x86"),
    ("resnet18_dcd", "ResNet-18-DCD", "onnxruntime-x86"),
)
HEADER = (
    "| network, 224×224 | `--target` | static twin | dynamic | ratio (95 %) | `portable` file |",
    "|---|---|--:|--:|--:|--:|",
)


def table() -> str:
    """Return the table, and where and when it was measured."""
    lines = [*HEADER]
    for network, title, target in ROWS:
        row = speed_row(network, target)
        times = f"{row['static ms']} ms | {row['DCD ms']} ms | {row['ratio (95 %)']} | {row['portable file']}"
        lines.append(f"| {title} | `{target}` | {times} |")
    block = PERFORMANCE.read_text(encoding="utf-8").partition("<!-- speed: end")[0]
    measured = re.findall(r"^(\S[^|\n]*?); \d+ cores?; .*; (\d{4}-\d\d-\d\d)T", block, re.MULTILINE)
    machine, date = measured[-1]
    return "\n".join([*lines, "", f"{machine}, {date}; one thread, batch 1, float32, random weights."])


def main() -> None:
    """Write it."""
    write_part(README, "front", table())


if __name__ == "__main__":
    main()
