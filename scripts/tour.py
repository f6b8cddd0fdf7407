"""Run the commands of README.md's tour and put what they print behind them.

    python scripts/tour.py

Standard output alone, as a pipe receives it; long tables are cut, and say so.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

from pages import README, ROOT, write_part

COMMANDS = (
    (
        "dcd-deploy export examples/digits/dcd.pth.tar --to onnx,tflite --out demo-out --name digits \\\n"
        "      --input-size 32 --resize 32 --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5 \\\n"
        "      --labels examples/digits/labels.txt --with-baseline"
    ),
    "dcd-deploy predict demo-out/digits.onnx examples/digits/seven.png --top 3",
    "dcd-deploy bench demo-out/digits.onnx demo-out/digits.tflite",
)
OPERATOR_ROWS = r"(?:^  [A-Z]\w+ +[\d–]+ +[\d–]+ *\n)"
SHOWN = 4


def run(command: str) -> str:
    """Return what a command prints on standard output."""
    arguments = shlex.split(command.replace("\\\n", ""))[1:]
    done = subprocess.run(
        [sys.executable, "-m", "dcd_deploy.cli", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return "\n".join(line.rstrip() for line in done.stdout.splitlines()).strip()


def shortened(text: str) -> str:
    """Return the text with long tables of operators cut."""
    return re.sub(f"({OPERATOR_ROWS}{{{SHOWN}}}){OPERATOR_ROWS}+", r"\1  …\n", text, flags=re.MULTILINE)


def main() -> None:
    """Write the tour into README.md."""
    blocks = [f"$ {command}\n{shortened(run(command))}" for command in COMMANDS]
    tour = "\n\n".join(blocks)
    write_part(README, "tour", f"```\n{tour}\n```")


if __name__ == "__main__":
    main()
