"""What a measurement says against itself: each rule is a function that returns a line, or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from dcd_deploy.benchmarks.environment import Environment
from dcd_deploy.benchmarks.machine import Machine
from dcd_deploy.benchmarks.results import Timing, Verdict
from dcd_deploy.benchmarks.statistics import Ratio

DRIFT, SPREAD, FEW_RUNS, CLOCK, LOAD, UNSURE = "drift", "spread", "few-runs", "clock", "load", "unsure"
KINDS = {
    DRIFT: "a model became slower or faster while it was measured",
    SPREAD: "single runs differ much from each other",
    FEW_RUNS: "too few runs for the quantiles and the interval",
    CLOCK: "the processor's clock is not fixed",
    LOAD: "other processes, or other guests of the host, used the cores meanwhile",
    UNSURE: "the interval of the ratio is wide",
}
MOST_DRIFT, MOST_SPREAD, MOST_WIDTH = 0.05, 0.025, 0.05
FEWEST_RUNS, FEWEST_BLOCKS = 100, 20
MOST_CLOCK_CHANGE = 0.05
MOST_OTHERS = 0.1  # cores
STEADY_GOVERNORS = ("performance", "userspace")


def verdicts(
    timings: Sequence[Timing], ratios: Mapping[str, Ratio], machine: Machine, environment: Environment
) -> tuple[Verdict, ...]:
    """Return all remarks on one trial."""
    found = [remark for timing in timings for remark in _on_timing(timing)]
    found += [remark for name, ratio in ratios.items() for remark in _on_ratio(name, ratio)]
    return (*found, *_on_clock(machine, environment), *_on_load(machine))


def _on_timing(timing: Timing) -> Iterator[Verdict]:
    change = drift([float(np.median(block)) for block in timing.samples.blocks_ms])
    if abs(change) > MOST_DRIFT:
        word = "slower" if change > 0 else "faster"
        yield Verdict(DRIFT, f"{timing.name} became {abs(change):.0%} {word} while it was measured")
    if timing.latency.spread > MOST_SPREAD:
        text = f"the runs of {timing.name} differ by {timing.latency.spread:.1%}"
        yield Verdict(SPREAD, f"{text} (above {MOST_SPREAD:.1%})")
    if timing.latency.runs < FEWEST_RUNS or len(timing.samples.blocks_ms) < FEWEST_BLOCKS:
        text = f"{timing.latency.runs} runs of {timing.name} in {len(timing.samples.blocks_ms)} blocks"
        yield Verdict(FEW_RUNS, f"only {text} (fewer than {FEWEST_RUNS} in {FEWEST_BLOCKS})")


def drift(medians: Sequence[float]) -> float:
    """Return the change from the first third of the blocks to the last, relative to the first."""
    third = max(1, len(medians) // 3)
    first, last = float(np.median(medians[:third])), float(np.median(medians[-third:]))
    return last / first - 1


def _on_ratio(name: str, ratio: Ratio) -> Iterator[Verdict]:
    width = (ratio.high - ratio.low) / ratio.median
    if width > MOST_WIDTH:
        yield Verdict(UNSURE, f"the ratio over {name} is known to {width / 2:+.1%} only".replace("+", "±"))


def _on_clock(machine: Machine, environment: Environment) -> Iterator[Verdict]:
    if environment.governor is not None and environment.governor not in STEADY_GOVERNORS:
        yield Verdict(CLOCK, f"the governor '{environment.governor}' changes the clock with the load")
    before, after = machine.clock_mhz_before, machine.clock_mhz_after
    if before and after and abs(after / before - 1) > MOST_CLOCK_CHANGE:
        yield Verdict(CLOCK, f"the clock went from {before:.0f} to {after:.0f} MHz")


def _on_load(machine: Machine) -> Iterator[Verdict]:
    if machine.others_busy_cores is not None and machine.others_busy_cores > MOST_OTHERS:
        yield Verdict(LOAD, f"other processes kept {machine.others_busy_cores:.1f} cores busy meanwhile")
    if machine.stolen_cores is not None and machine.stolen_cores > MOST_OTHERS:
        yield Verdict(LOAD, f"the host took {machine.stolen_cores:.1f} cores away meanwhile")
