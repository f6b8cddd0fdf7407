"""The texts and numbers of the page that stand between the plots, as far as bench.html does not say them."""

from __future__ import annotations

from dataclasses import asdict
from statistics import median

from dcd_deploy.benchmarks.results import BenchResult, Timing, Trial
from dcd_deploy.network_names import published
from dcd_deploy.reports import terminal as numbers
from dcd_deploy.reports import wording


def one_trial(trial: Trial) -> str:
    """Return the only trial in a sentence."""
    twin, ours = wording.static_twin(trial), numbers.milliseconds(trial.timings[0].latency.median_ms)
    if twin is None:
        return f"Median {ours}; {wording.trial_title(trial)}."
    theirs = numbers.milliseconds(twin[0].latency.median_ms)
    return f"{ours} against {theirs}; {wording.interval(twin[1])} times as long. {wording.trial_title(trial)}."


def doubts(result: BenchResult) -> list[int]:
    """Return the numbers of the trials that have remarks."""
    return [number for number, trial in enumerate(result.trials, 1) if trial.verdicts]


def trial_numbers(trial: Trial) -> list[tuple[str, str, str]]:
    """Return the few numbers of a trial that matter most: name, value, and what stands beside it or nothing."""
    ours, found = trial.timings[0], wording.static_twin(trial)
    twin = found[0] if found else None
    rows = [("Over its static twin", f"{found[1].median:.2f} ×", wording.interval(found[1]))] if found else []
    for name, value in (
        ("Median run", lambda timing: timing.latency.median_ms),
        ("99 % of runs within", lambda timing: timing.latency.p99_ms),
        ("File to first answer", _first_answer),
    ):
        if (ms := value(ours)) is not None:
            theirs = value(twin) if twin else None
            beside = "" if theirs is None else f"twin {numbers.milliseconds(theirs)}"
            rows.append((name, numbers.milliseconds(ms), beside))
    if ours.memory is not None:
        beside = f"twin {wording.megabytes(twin.memory.peak_mb)}" if twin and twin.memory else ""
        rows.append(("Peak memory", wording.megabytes(ours.memory.peak_mb), beside))
    return rows


def _first_answer(timing: Timing) -> float | None:
    s = timing.samples
    return median(s.load_ms) + median(s.first_ms) if s.load_ms and s.first_ms else None


def timing_rows(trial: Trial) -> list[tuple[str, ...]]:
    """Return the rows of a table of wording.TIMING_COLUMNS."""
    return [wording.timing_cells(timing) for timing in trial.timings]


def settings(result: BenchResult) -> str:
    """Return how times were taken, as names and values."""
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in asdict(result.config).items()
    )


def sources(result: BenchResult) -> str:
    """Return where the accuracies are quoted from."""
    known = (published(timing.network) for trial in result.trials for timing in trial.timings)
    return "; ".join(dict.fromkeys(found.source for found in known if found))
