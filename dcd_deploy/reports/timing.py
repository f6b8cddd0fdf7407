"""How a benchmark reads."""

from __future__ import annotations

from rich.console import Console

from dcd_deploy.benchmarks.bench import BASELINE, MODEL, BenchResult
from dcd_deploy.reports import numbers
from dcd_deploy.reports.terminal import line, show_table


def show_bench(screen: Console, result: BenchResult) -> None:
    """Print both latencies and their ratio with its interval, and where they were measured."""
    names = {MODEL: result.model, BASELINE: result.baseline or ""}
    rows = [
        (role, names[role], *map(numbers.milliseconds, (t.median_ms, t.p90_ms, t.min_ms)), str(t.runs))
        for role, t in result.latencies.items()
    ]
    threads = f"{result.threads} thread{'s' * (result.threads > 1)}"
    title = f"{result.runtime}, {threads}, batch {result.batch}, alternating blocks of {result.config.runs} runs"
    show_table(screen, title, ("", "file", "median", "p90", "min", "runs"), rows, left=2)
    if result.ratio is not None:
        r = result.ratio
        interval = f"{100 * r.confidence:.0f} % interval {r.low:.3f} to {r.high:.3f}, {r.pairs} block pairs"
        line(screen, f"ratio {r.median:.3f}  ({interval})")
    e = result.environment
    load = "" if e.load is None else f", load {e.load:.1f} at the start"
    packages = ", ".join(f"{name} {found}" for name, found in e.packages.items())
    line(screen, f"{e.cpu}, {e.cores} cores ({' '.join(e.features)}){load}; {packages}; {e.date}")
