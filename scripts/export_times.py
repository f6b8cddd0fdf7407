"""Time whole exports of MobileNetV2-DCD ×1.0 at 224, with all checks, beside what loading torch alone takes.

    python scripts/export_times.py --out FOLDER           about ten minutes
    python scripts/export_times.py --out FOLDER --write   and write the table into docs/performance.md

Machines differ twofold in how fast they run Python, so that seconds of one say little of another. Loading torch is the
same kind of work, and every command begins with it: the commands alternate with it, each a process of its own, and the
table has the ratio of each to the torch just before it.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from pages import PERFORMANCE, options_of, write_part

from dcd_deploy.benchmarks.environment import read_environment
from dcd_deploy.benchmarks.sweep import NETWORKS
from dcd_deploy.models.random_weights import calibrated_network, save_checkpoint
from dcd_deploy.reports.terminal import live_progress
from dcd_deploy.reports.wording import environment_line

NETWORK, SIDE, TURNS = "mobilenetv2_dcd_x1.0", 224, 7
LOADING = [sys.executable, "-c", "import torch"]
PROGRAM = [sys.executable, "-m", "dcd_deploy"]
COMMANDS = ("export --to onnx", "export --to tflite", "inspect")
Times = dict[str, list[tuple[float, float]]]  # of each command: the seconds of torch, and its own


def seconds(command: list[str]) -> float:
    """Return how long a command takes, from its start to its end."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begin


def measured(out: Path) -> Times:
    """Return the seconds of torch and of each command, in turns."""
    checkpoint = out / f"{NETWORK}.pth.tar"
    if not checkpoint.exists():
        save_checkpoint(checkpoint, calibrated_network(NETWORKS[NETWORK], SIDE), NETWORKS[NETWORK].arch)
    made = ["--out", str(out / "made"), "--tolerance", "5e-4"]  # random weights may amplify rounding tenfold
    commands = {
        name: [*PROGRAM, *name.split(), str(checkpoint), *(made if name.startswith("export") else [])]
        for name in COMMANDS
    }
    for command in commands.values():  # once from the disk
        seconds(command)
    found: Times = {name: [] for name in commands}
    for turn in range(TURNS):
        with live_progress(f"turn {turn + 1} of {TURNS}"):
            for name, command in commands.items():
                found[name].append((seconds(LOADING), seconds(command)))
    return found


def table(found: Times, where: str) -> str:
    """Return the rows: seconds, and how many times as long as loading torch, with quartiles."""
    lines = ["| | s | times as long as loading torch |", "|---|--:|--:|"]
    for name, pairs in found.items():
        ratios = [whole / torch for torch, whole in pairs]
        low, middle, high = statistics.quantiles(ratios, n=4)
        whole = statistics.median(whole for _, whole in pairs)
        lines.append(f"| `{name}` | {whole:.1f} | **{middle:.1f}** ({low:.1f}–{high:.1f}) |")
    torch = statistics.median(torch for pairs in found.values() for torch, _ in pairs)
    return "\n".join([*lines, "", f"Loading torch took {torch:.2f} s. {where}"])


def main() -> None:
    """Measure, and write the table if asked to."""
    options = options_of(__doc__).parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    results = options.out / "export_times.json"
    if not results.exists():
        where = environment_line(read_environment())
        results.write_text(json.dumps({"times": measured(options.out), "where": where}), encoding="utf-8")
    kept = json.loads(results.read_text(encoding="utf-8"))
    text = table(kept["times"], kept["where"])
    print(text)
    if options.write:
        write_part(PERFORMANCE, "export times", text)


if __name__ == "__main__":
    main()
