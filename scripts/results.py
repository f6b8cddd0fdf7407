"""Measure all networks beside their static twins, and write the tables into docs/results.md.

    python scripts/results.py                 all networks in both formats (about fifteen minutes)
    python scripts/results.py --out FOLDER    keep models and results there, and go on where it ended

It runs ``dcd-deploy sweep``. Latency does not depend on the weights, so they are random.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from pages import RESULTS, write_part

from dcd_deploy import commands
from dcd_deploy.benchmarks.process import LOCAL
from dcd_deploy.benchmarks.results import BenchResult, Trial
from dcd_deploy.network_names import published, title
from dcd_deploy.reports.terminal import live_progress
from dcd_deploy.reports.wording import config_line, environment_line, span

HEADER = (
    "| network, 224×224 | runtime | nodes | file | error of range | static twin | DCD | ratio (95 %) | memory, twin |\n"
    "|---|---|--:|--:|--:|--:|--:|--:|--:|"
)
FRONT_HEADER = "| in one run | top-1, published | {} |\n|---|--:|{}"


def row(trial: Trial) -> str:
    """Return the table's row of one network on one runtime; its sidecar says what the export found."""
    model, static = trial.timings
    facts: dict[str, Any] = json.loads(Path(f"{model.path}.json").read_text(encoding="utf-8"))
    error = max(found["relative"] for found in facts["verification"]["comparisons"])
    ratio = trial.ratios[static.name]
    memory = [f"{timing.memory.peak_mb:.0f} MB" if timing.memory else "–" for timing in (model, static)]
    cells = (
        title(model.network or model.name),
        trial.runtime,
        f"{facts['graph']['finished']['nodes']}",
        f"{Path(model.path).stat().st_size / 1e6:.1f} MB",
        f"{error:.0e}",
        f"{static.latency.median_ms:.2f} ms",
        f"{model.latency.median_ms:.2f} ms",
        f"{ratio.median:.2f} ({span(ratio)})",
        ", ".join(memory),
    )
    return f"| {' | '.join(cells)} |"


def front(trials: list[Trial]) -> str:
    """Return the table of all networks measured in turns, the most accurate first."""
    runtimes = [trial.runtime for trial in trials]
    times = [{timing.network: timing.latency.median_ms for timing in trial.timings} for trial in trials]
    networks = sorted(times[0], key=lambda network: -(_top1(network)))
    rows = []
    for network in networks:
        top1 = f"{_top1(network):.1f} %" if _top1(network) else "–"
        cells = (title(network or "?"), top1, *(f"{found[network]:.2f} ms" for found in times))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([FRONT_HEADER.format(" | ".join(runtimes), "--:|" * len(runtimes)), *rows])


def _top1(network: str | None) -> float:
    found = published(network)
    return found.top1 if found else 0.0


def tables(result: BenchResult) -> str:
    """Return both tables and the line that says where and when."""
    pairs = [trial for trial in result.trials if len(trial.timings) == 2]
    fronts = [trial for trial in result.trials if len(trial.timings) > 2]
    caption = (
        f"{environment_line(result.environments[LOCAL])}; one thread, batch 1, float32, {config_line(result.config)}. "
        "Random weights; published accuracies are second-hand (`dcd_deploy/network_names.py`). `make bench` "
        "makes these tables."
    )
    return "\n".join([HEADER, *map(row, pairs), "", *([front(fronts), ""] if fronts else []), caption])


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = tables(commands.sweep(options.out or folder, progress=live_progress))
    print(text)
    write_part(RESULTS, "results", text)


if __name__ == "__main__":
    main()
