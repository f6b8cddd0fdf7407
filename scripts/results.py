"""Measure the networks beside their static twins, and write the table into README.md.

    python scripts/results.py            all networks in both formats (about ten minutes)
    python scripts/results.py --quick    MobileNetV2-DCD ×1.0 alone, to the terminal

Latency does not depend on the weights, so they are random (``models/random_weights.py``). Each export and each
benchmark is a run of the command line in a process of its own, whose time and memory are measured from outside.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from dcd_deploy.models.random_weights import calibrated_network, save_checkpoint
from dcd_deploy.sweep import NETWORKS

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
HEADER = (
    "| network, 224×224 | format | nodes | file | export with twin | peak memory | error of range | static twin | "
    "DCD | ratio (95 %) |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|"
)
FORMATS = ("onnx", "tflite")


def run(*arguments: str) -> tuple[dict[str, Any], float, float]:
    """Run ``dcd-deploy`` with ``--json``; return its answer, the seconds it took and its peak memory in MB."""
    command = [sys.executable, "-m", "dcd_deploy.cli", *arguments, "--json"]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"dcd-deploy {' '.join(arguments)} ended with {process.returncode}: {output}")
    return json.loads(output), time.perf_counter() - start, usage.ru_maxrss / 1000


def measure(name: str, format: str, checkpoint: Path, folder: Path) -> tuple[str, dict[str, Any]]:
    """Return the table's row of one network in one format, and the benchmark's answer."""
    answer, seconds, memory = run("export", str(checkpoint), "--to", format, "--out", str(folder), "--with-baseline")
    (exported,) = answer["files"]
    timed, _, _ = run("bench", exported["path"], "--baseline", exported["baseline"])
    error = max(c["relative"] for c in exported["verification"]["comparisons"])
    (trial,) = timed["trials"]
    model, baseline = (timing["latency"]["median_ms"] for timing in trial["timings"])
    (ratio,) = trial["ratios"].values()
    cells = (
        name,
        format,
        f"{exported['graph']['finished']['nodes']}",
        f"{Path(exported['path']).stat().st_size / 1e6:.1f} MB",
        f"{seconds:.0f} s",
        f"{memory / 1000:.1f} GB",
        f"{error:.0e}",
        f"{baseline:.2f} ms",
        f"{model:.2f} ms",
        f"{ratio['median']:.2f} ({ratio['low']:.2f}–{ratio['high']:.2f})",
    )
    return f"| {' | '.join(cells)} |", timed


def caption(timed: dict[str, Any]) -> str:
    """Return the line that says where and when."""
    e = timed["environment"]
    packages = ", ".join(f"{package} {found}" for package, found in e["packages"].items())
    return (
        f"{e['cpu']}, {e['cores']} cores shared with others, {' '.join(e['features'])}; one thread, batch 1, float32, "
        f"alternating blocks of {timed['config']['runs']} runs; {packages}; {e['date'][:10]}. Random weights. "
        "`make bench` makes this table."
    )


def main() -> None:
    """Measure, and print or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    rows = []
    print(HEADER, flush=True)
    networks = {name: spec for name, spec in NETWORKS.items() if not options.quick or name.endswith("x1.0")}
    for name, spec in networks.items():
        with tempfile.TemporaryDirectory() as folder:
            network = calibrated_network(spec, 224)
            checkpoint = save_checkpoint(Path(folder) / "checkpoint.pth.tar", network, spec.arch)
            for format in FORMATS:
                row, timed = measure(name, format, checkpoint, Path(folder))
                print(row, flush=True)
                rows.append(row)
    text = "\n".join([HEADER, *rows, "", caption(timed)])
    if options.quick:
        print(text)
        return
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    README.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
