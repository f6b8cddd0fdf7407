"""Run the commands of README.md and of docs/quick-start.md's tour, and put what they print behind them.

    python scripts/tour.py

Standard output alone, as a pipe receives it; of README's commands the lines that ``SHOWN`` matches.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from pages import QUICK_START, README, ROOT, write_part

from dcd_deploy.models.random_weights import calibrated_network, save_checkpoint
from dcd_deploy.sweep import NETWORKS

TOUR = (
    (
        "dcd-deploy export examples/digits/dcd.pth.tar --to onnx,tflite --out demo-out --name digits \\\n"
        "      --input-size 32 --resize 32 --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5 \\\n"
        "      --labels examples/digits/labels.txt --with-baseline"
    ),
    "dcd-deploy predict demo-out/digits.onnx examples/digits/seven.png --top 3",
    "dcd-deploy bench demo-out/digits.onnx demo-out/digits.tflite",
)
FIRST = (
    "dcd-deploy export model_best.pth.tar --to onnx,tflite --out deploy --name mine --with-baseline",
    "dcd-deploy verify deploy/mine.onnx --checkpoint model_best.pth.tar",
    "dcd-deploy bench deploy/mine.onnx deploy/mine.tflite",
)
SHOWN = re.compile(r"(ONNX|TFLite): |  verified|wrote |stage |model file |model +runtime|mine[.].*[(]")
SIDE = 224


def run(command: str, folder: Path = ROOT) -> str:
    """Return what a command prints on standard output."""
    arguments = shlex.split(command.replace("\\\n", ""))[1:]
    done = subprocess.run(
        [sys.executable, "-m", "dcd_deploy", *arguments],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    return "\n".join(line.rstrip() for line in done.stdout.splitlines()).strip()


def excerpt(text: str) -> str:
    """Return the lines that are shown of what a command printed."""
    return "\n".join(line for line in text.splitlines() if SHOWN.match(line))


def make_checkpoint(path: Path) -> None:
    """Write MobileNetV2-DCD ×1.0 with random weights, as its training script would."""
    spec = NETWORKS["mobilenetv2_dcd_x1.0"]
    save_checkpoint(path, calibrated_network(spec, SIDE), spec.arch)


def main() -> None:
    """Write both."""
    with tempfile.TemporaryDirectory() as folder:
        make_checkpoint(Path(folder) / "model_best.pth.tar")
        blocks = [f"$ {command}\n{excerpt(run(command, Path(folder)))}" for command in FIRST]
    write_part(README, "commands", "```\n" + "\n\n".join(blocks) + "\n```")
    blocks = [f"$ {command}\n{run(command)}" for command in TOUR]
    write_part(QUICK_START, "tour", "```\n" + "\n\n".join(blocks) + "\n```")


if __name__ == "__main__":
    main()
