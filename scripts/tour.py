"""Run the commands of README.md, docs/quick-start.md's tour and docs/evaluate.md, and put what they print behind them.

    python scripts/tour.py

Standard output alone, as a pipe receives it; of README's commands the lines that ``SHOWN`` matches.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from figures import FIGURES
from pages import DOCS, QUICK_START, README, ROOT, write_part

from dcd_deploy.benchmarks.sweep import NETWORKS
from dcd_deploy.models.random_weights import calibrated_network, save_checkpoint

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
PREPROCESSED = "--input-size 32 --resize 32 --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5"
EXPORTS = (
    f"dcd-deploy export dcd.pth.tar --to onnx,tflite --out . --name digits --with-baseline {PREPROCESSED}",
    f"dcd-deploy export dcd.pth.tar --to onnx --out . --name digits-int8 --weights int8 {PREPROCESSED}",
)
EVALUATE = (
    "dcd-deploy evaluate digits.onnx digits.tflite digits-int8.onnx digits-static.onnx --data held \\\n"
    "      --checkpoint dcd.pth.tar --save evaluate.svg"
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


def evaluate() -> None:
    """Write the example of docs/evaluate.md, and its picture."""
    digits = ROOT / "examples" / "digits"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        shutil.copy(digits / "dcd.pth.tar", folder)
        for command in EXPORTS:
            run(command, folder)
        subprocess.run([sys.executable, digits / "held_out.py", "held"], cwd=folder, check=True)
        write_part(DOCS / "evaluate.md", "evaluate", f"```\n$ {EVALUATE}\n{run(EVALUATE, folder)}\n```")
        shutil.copy(folder / "evaluate.svg", FIGURES)


def main() -> None:
    """Write them all."""
    evaluate()
    with tempfile.TemporaryDirectory() as folder:
        make_checkpoint(Path(folder) / "model_best.pth.tar")
        blocks = [f"$ {command}\n{excerpt(run(command, Path(folder)))}" for command in FIRST]
    write_part(README, "commands", "```\n" + "\n\n".join(blocks) + "\n```")
    blocks = [f"$ {command}\n{run(command)}" for command in TOUR]
    write_part(QUICK_START, "tour", "```\n" + "\n\n".join(blocks) + "\n```")


if __name__ == "__main__":
    main()
