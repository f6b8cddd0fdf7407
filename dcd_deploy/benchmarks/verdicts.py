"""What a measurement says against itself: each rule is a function that returns a line, or nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from dcd_deploy.benchmarks.environment import Environment
from dcd_deploy.benchmarks.machine import Machine
from dcd_deploy.benchmarks.results import Timing, Verdict
from dcd_deploy.benchmarks.statistics import Ratio

DRIFT, SPREAD, FEW_RUNS, CLOCK, LOAD, UNSURE = "drift", "spread", "few-runs", "clock", "load", "unsure"
THROTTLED, PLACE, WRONG = "throttled", "place", "wrong"
KINDS = {
    DRIFT: "a model became slower or faster while it was measured",
    SPREAD: "single runs differ much from each other",
    FEW_RUNS: "too few runs for the quantiles and the interval",
    CLOCK: "the processor's clock is not fixed",
    LOAD: "other processes, or other guests of the host, used the cores meanwhile",
    UNSURE: "the interval of the ratio is wide",
    THROTTLED: "the device slowed itself down to stay cool",
    WRONG: "a model does not compute what was trained, by the answers that its file carries",
    PLACE: "where it was measured is not where an app would run: an emulator, a phone's shell",
}
MOST_DRIFT, MOST_SPREAD, MOST_WIDTH = 0.05, 0.025, 0.05
FEWEST_RUNS, FEWEST_BLOCKS = 100, 20
MOST_CLOCK_CHANGE = 0.05
MOST_OTHERS = 0.1  # cores
LOADED = "use neither times nor ratios"
STEADY_GOVERNORS = ("performance", "userspace")


def verdicts(
    timings: Sequence[Timing], ratios: Mapping[str, Ratio], machine: Machine, environment: Environment
) -> tuple[Verdict, ...]:
    """Return all remarks on one trial."""
    on_models = (*_on_drift(timings), *_on_spread(timings), *_on_count(timings))
    on_machine = (*_on_throttling(machine), *_on_clock(machine, environment), *_on_load(machine))
    return (*(Verdict(PLACE, note) for note in environment.notes), *on_models, *_on_ratios(ratios), *on_machine)


def _on_drift(timings: Sequence[Timing]) -> Iterator[Verdict]:
    changes = {t.name: drift([float(np.median(block)) for block in t.samples.blocks_ms]) for t in timings}
    bad = {name: change for name, change in changes.items() if abs(change) > MOST_DRIFT}
    if bad:
        worst = max(bad, key=lambda name: abs(bad[name]))
        word = "slower" if bad[worst] > 0 else "faster"
        yield Verdict(DRIFT, f"{worst} became {abs(bad[worst]):.0%} {word} while it was measured{_too(bad)}")


def _on_spread(timings: Sequence[Timing]) -> Iterator[Verdict]:
    bad = {t.name: t.latency.spread for t in timings if t.latency.spread > MOST_SPREAD}
    if bad:
        worst = max(bad, key=lambda name: bad[name])
        yield Verdict(SPREAD, f"the runs of {worst} differ by {bad[worst]:.1%}, above {MOST_SPREAD:.1%}{_too(bad)}")


def _on_count(timings: Sequence[Timing]) -> Iterator[Verdict]:
    bad = {t.name: t for t in timings if t.latency.runs < FEWEST_RUNS or len(t.samples.blocks_ms) < FEWEST_BLOCKS}
    if bad:
        name, least = min(bad.items(), key=lambda item: item[1].latency.runs)
        text = f"{least.latency.runs} runs of {name} in {len(least.samples.blocks_ms)} blocks"
        yield Verdict(FEW_RUNS, f"only {text}, fewer than {FEWEST_RUNS} in {FEWEST_BLOCKS}{_too(bad)}")


def _too(bad: Collection[str]) -> str:
    """Return what is said of the others: one line for each kind of remark is enough."""
    others = len(bad) - 1
    return "" if others == 0 else f"; the same of {others} more"


def drift(medians: Sequence[float]) -> float:
    """Return the change from the first third of the blocks to the last, relative to the first."""
    third = max(1, len(medians) // 3)
    first, last = float(np.median(medians[:third])), float(np.median(medians[-third:]))
    return last / first - 1


def _on_ratios(ratios: Mapping[str, Ratio]) -> Iterator[Verdict]:
    widths = {name: (ratio.high - ratio.low) / ratio.median for name, ratio in ratios.items()}
    bad = {name: width for name, width in widths.items() if width > MOST_WIDTH}
    if bad:
        worst = max(bad, key=lambda name: bad[name])
        yield Verdict(UNSURE, f"the ratio over {worst} is known to ±{bad[worst] / 2:.1%} only{_too(bad)}")


def _on_throttling(machine: Machine) -> Iterator[Verdict]:
    if machine.throttled:
        warm, hot = machine.temperature_c_before, machine.temperature_c_after
        how = "" if warm is None or hot is None else f", at {warm:.0f} °C before and {hot:.0f} °C after"
        yield Verdict(THROTTLED, f"the device slowed itself down to stay cool{how}; its milliseconds are not its best")


def _on_clock(machine: Machine, environment: Environment) -> Iterator[Verdict]:
    if environment.governor is not None and environment.governor not in STEADY_GOVERNORS:
        yield Verdict(CLOCK, f"the governor '{environment.governor}' changes the clock with the load")
    before, after = machine.clock_mhz_before, machine.clock_mhz_after
    if before and after and abs(after / before - 1) > MOST_CLOCK_CHANGE:
        yield Verdict(CLOCK, f"the clock went from {before:.0f} to {after:.0f} MHz")


def _on_load(machine: Machine) -> Iterator[Verdict]:
    if machine.others_busy_cores is not None and machine.others_busy_cores > MOST_OTHERS:
        yield Verdict(LOAD, f"other processes kept {machine.others_busy_cores:.1f} cores busy meanwhile; {LOADED}")
    if machine.stolen_cores is not None and machine.stolen_cores > MOST_OTHERS:
        yield Verdict(LOAD, f"the host took {machine.stolen_cores:.1f} cores away meanwhile; {LOADED}")
