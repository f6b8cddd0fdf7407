"""How a benchmark is put into words, the same in the terminal, in Markdown and on the page."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from dcd_deploy.artifacts import Precision
from dcd_deploy.benchmarks.environment import Environment
from dcd_deploy.benchmarks.machine import Machine
from dcd_deploy.benchmarks.measure import MeasureConfig
from dcd_deploy.benchmarks.process import LOCAL
from dcd_deploy.benchmarks.results import MODEL, STATIC, BenchResult, Failure, Timing, Trial
from dcd_deploy.benchmarks.statistics import Ratio
from dcd_deploy.network_names import labelled
from dcd_deploy.reports import terminal as numbers
from dcd_deploy.reports.counts import NONE, counts_headline, network_name

ROLES = {MODEL: "model", STATIC: "static twin"}  # the third, "against", is called as it is
TIMING_COLUMNS = ("", "name", "load", "first", "median", "p90", "p99", "MAD", "min", "runs", "memory")
DEVICE = "device"
SUMMARY_COLUMNS = ("model", "runtime", "threads", "batch", "median", "over the static twin")


def trial_name(result: BenchResult, trial: Trial) -> str:
    """Return the network's name in print, or the file's where two trials of one setting have the same network."""
    name = network_name(trial.timings[0])
    alike = [t for t in result.trials if (network_name(t.timings[0]), _setting(t)) == (name, _setting(trial))]
    return name if len(alike) == 1 else trial.timings[0].name


def _setting(trial: Trial) -> tuple[str, str, int, int]:
    return trial.device, trial.runtime, trial.threads, trial.batch


def timed_failures(result: BenchResult) -> list[Failure]:
    """Return what could not be timed; what could not be counted is among the counts."""
    counted = result.counts.cores if result.counts else {}
    return [failure for failure in result.failures if failure.device not in counted]


def devices(result: BenchResult) -> list[str]:
    """Return the devices that were timed, in the result's order; none where there is nothing but this machine."""
    named = [*(trial.device for trial in result.trials), *(failure.device for failure in timed_failures(result))]
    found = dict.fromkeys([*result.environments, *named])
    return [] if set(found) <= {LOCAL} else list(found)


def trial_title(trial: Trial) -> str:
    """Return "ssh://pi@board, onnxruntime 1.32.0, 1 thread, batch 1, on CPU 0"; this machine is not named."""
    device = [] if trial.device == LOCAL else [trial.device]
    return ", ".join([*device, *trial_parts(trial, version=True)])


def table_title(trial: Trial) -> str:
    """Return the title of a table of TIMING_COLUMNS."""
    return f"{trial_title(trial)}; times in ms"


def trial_parts(trial: Trial, *, version: bool) -> list[str]:
    """Return what sets a trial apart: runtime, threads, batch, and with ``version`` its version and cores."""
    parts = [trial.runtime, _threads(trial.threads), f"batch {trial.batch}"]
    if version:
        parts[0] += f" {trial.runtime_version}"
        if trial.cpus:
            parts.append(f"on CPU{'s' * (len(trial.cpus) > 1)} {' '.join(map(str, trial.cpus))}")
    return parts


def static_twin(trial: Trial) -> tuple[Timing, Ratio] | None:
    """Return the static twin's timing and the ratio to it, where the trial has both."""
    twins = [t for t in trial.timings if t.role == STATIC and t.name in trial.ratios]
    return (twins[0], trial.ratios[twins[0].name]) if twins else None


def ratio_lines(trial: Trial) -> list[str]:
    """Return a line for each ratio, in the order of the timings."""
    others = [t for t in trial.timings[1:] if t.name in trial.ratios]
    return [ratio_line(trial.ratios[t.name], ROLES.get(t.role, t.name)) for t in others]


def ratio_line(ratio: Ratio, over: str) -> str:
    """Return "ratio 1.382 (95 % interval 1.36 to 1.40, 60 pairs) over static twin"."""
    return f"ratio {ratio.median:.3f} ({interval(ratio)}, {ratio.pairs} pairs) over {over}"


def interval(ratio: Ratio) -> str:
    """Return "95 % interval 1.36 to 1.40"."""
    return f"{100 * ratio.confidence:g} % interval {span(ratio, ' to ')}"


def span(ratio: Ratio, between: str = "–") -> str:
    """Return the interval's ends, with a third digit where two would not tell them apart."""
    digits = 2 if ratio.high - ratio.low >= 0.02 else 3
    return f"{ratio.low:.{digits}f}{between}{ratio.high:.{digits}f}"


def timing_cells(timing: Timing) -> tuple[str, ...]:
    """Return the row of TIMING_COLUMNS, times in milliseconds; load and first run are medians over the rounds."""
    s, at = timing.samples, timing.latency
    return (
        ROLES.get(timing.role, timing.role),
        labelled(timing.name, timing.network),
        *(_median(times) for times in (s.load_ms, s.first_ms)),
        *map(_ms, (at.median_ms, at.p90_ms, at.p99_ms, at.mad_ms, at.min_ms)),
        str(at.runs),
        NONE if timing.memory is None else megabytes(timing.memory.peak_mb),
    )


def summary_columns(result: BenchResult) -> tuple[str, ...]:
    """Return SUMMARY_COLUMNS, with the device before them where there is more than this machine."""
    return (DEVICE, *SUMMARY_COLUMNS) if devices(result) else SUMMARY_COLUMNS


def summary_rows(result: BenchResult) -> list[tuple[str, ...]]:
    """Return a row of ``summary_columns`` for each trial."""
    device = bool(devices(result))
    return [((trial.device,) if device else ()) + _summary_cells(trial) for trial in result.trials]


def _summary_cells(trial: Trial) -> tuple[str, ...]:
    timing, twin = trial.timings[0], static_twin(trial)
    ratio = f"{twin[1].median:.3f} ({span(twin[1])})" if twin else NONE
    latency = numbers.milliseconds(timing.latency.median_ms)
    return timing.name, trial.runtime, str(trial.threads), str(trial.batch), latency, ratio


def machine_line(machine: Machine) -> str:
    """Return what the machine did besides during a trial; what could not be read is left out."""
    parts = []
    if machine.others_busy_cores is not None:
        parts.append(f"other processes kept {machine.others_busy_cores:.2f} cores busy")
    if machine.stolen_cores is not None:
        parts.append(f"the hypervisor took {machine.stolen_cores:.2f} cores")
    if machine.clock_mhz_before is not None and machine.clock_mhz_after is not None:
        parts.append(f"clock {machine.clock_mhz_before:.0f} MHz before, {machine.clock_mhz_after:.0f} MHz after")
    if machine.temperature_c_before is not None and machine.temperature_c_after is not None:
        parts.append(f"{machine.temperature_c_before:.0f} °C before, {machine.temperature_c_after:.0f} °C after")
    if machine.throttled is not None:
        parts.append("slowed down to stay cool" if machine.throttled else "not slowed down to stay cool")
    return ", ".join(parts)


def failure_line(failure: Failure) -> str:
    """Return what could not be measured, and why."""
    batch = "" if failure.batch is None else f", batch {failure.batch}"
    device = "" if failure.device == LOCAL else f" on {failure.device}"
    return f"{failure.name} on {failure.runtime}, {_threads(failure.threads)}{batch}{device}: {failure.reason}"


def environment_lines(result: BenchResult) -> list[str]:
    """Return a line for each device, which begins with its name where there is more than this machine."""
    named = bool(devices(result))
    return [f"{name}: " * named + environment_line(found) for name, found in result.environments.items()]


def environment_line(e: Environment) -> str:
    """Return the machine, the packages and the date on one line; what could not be read is left out."""
    return "; ".join(f"{value}" for _, value in environment_rows(e))


def environment_rows(e: Environment) -> list[tuple[str, str]]:
    """Return name and text of all that could be read of the machine."""
    features = f" ({' '.join(e.features)})" if e.features else ""
    rows = [("Processor", f"{e.cpu}{features}"), ("Cores", f"{e.cores} core{'s' * (e.cores != 1)}")]
    if e.memory_mb is not None:
        rows.append(("Memory", megabytes(e.memory_mb)))
    clock = [] if e.clock_mhz is None else [f"{e.clock_mhz:.0f} MHz"]
    clock += [] if e.governor is None else [f"governor {e.governor}"]
    clock += [] if e.temperature_c is None else [f"{e.temperature_c:.0f} °C"]
    if clock:
        rows.append(("Clock", ", ".join(clock)))
    if e.load is not None:
        rows.append(("Load", f"load {e.load:.1f} at the start"))
    packages = ", ".join(f"{name} {version}" for name, version in e.packages.items())
    return [
        *rows,
        ("System", e.system),
        ("Software", ", ".join(filter(None, [f"Python {e.python}" if e.python else "", packages]))),
        ("Date", e.date),
        *(("Note", note) for note in e.notes),
    ]


def config_line(c: MeasureConfig) -> str:
    """Return the protocol in one sentence."""
    counted = f"blocks of {c.runs} runs, of which the first {c.dropped} are not counted"
    warm = f"after at least {c.warmup_runs} runs and {c.warmup_seconds:g} s of warm-up"
    rounds = f", in {c.rounds} rounds that open the files anew" if c.rounds > 1 else ""
    return f"in turns, {counted}, {warm}; at least {c.min_runs} runs of each and {c.min_seconds:g} s{rounds}"


def headline(result: BenchResult) -> str:
    """Return the whole benchmark in one sentence that needs no knowledge of benchmarks."""
    if not result.trials:
        counted = result.counts.trials if result.counts else ()
        return counts_headline(counted) if counted else "Nothing could be measured"
    subjects = list(dict.fromkeys(network_name(trial.timings[0]) for trial in result.trials))
    one = len(subjects) == 1
    who = subjects[0] if one else f"The {len(subjects)} models"
    ratios = [twin[1] for trial in result.trials if (twin := static_twin(trial))]
    if not ratios:
        times = [numbers.milliseconds(trial.timings[0].latency.median_ms) for trial in result.trials]
        return f"{who} take{'s' * one} {times[0] if len(times) == 1 else 'the times below'} on {_where(result)}"
    theirs = "its static twin" if one else "their static twins"
    return f"{who} take{'s' * one} {_times_as_long(ratios)} {theirs} on {_where(result)}"


def _where(result: BenchResult) -> str:
    places = list(dict.fromkeys(trial.device for trial in result.trials))
    if len(places) > 1:
        return f"{len(places)} devices"
    return "this machine" if places[0] == LOCAL else places[0]


def _times_as_long(ratios: Sequence[Ratio]) -> str:
    low, high = (f"{pick(r.median for r in ratios):.2f}" for pick in (min, max))
    if all(r.low <= 1 <= r.high for r in ratios):
        return "as long, within what can be measured, as"
    return f"{low} times as long as" if low == high else f"{low} to {high} times as long as"


def megabytes(value: float) -> str:
    """Return a number of megabytes (10^6 bytes) as ``58.2 MB``."""
    return numbers.size(round(value * 1e6))


def _median(times: Sequence[float]) -> str:
    return _ms(median(times)) if times else NONE


def _ms(value: float) -> str:
    return numbers.milliseconds(value).removesuffix(" ms")  # the unit stands once, above the table


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count != 1)}"


def precision_words(precision: Precision) -> str:
    """Say what is computed in, how that was calibrated, and what is left."""
    words = [precision.format, *([f"weights of {precision.bits} bits"] if precision.bits else [])]
    words += (
        [f"{'calibrated' if precision.bits else 'judged'} on {precision.images} images"] if precision.images else []
    )
    if precision.snr_db is not None:
        least = "" if precision.least_db is None else f" (at least {precision.least_db:.0f} is asked for)"
        words.append(f"{precision.snr_db:.1f} dB of signal over noise are left{least}")
    if precision.top1 is not None and precision.float_top1 is not None:
        words.append(f"top-1 {precision.float_top1:.2%} → {precision.top1:.2%} on them")
    if precision.largest is not None:
        words.append(f"largest activation {precision.largest:.3g} of 65504, {65504 / precision.largest:.0f} times less")
    if precision.kept_float:
        words.append(f"in float32 {', '.join(precision.kept_float)}")
    return "; ".join(words)
