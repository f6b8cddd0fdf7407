"""The two kinds of runners: what each is asked for, and what it says and writes.

Google's ``benchmark_model`` for TFLite files:

    count=61 first=8301 curr=8102 min=8051 max=9102 avg=8190.2 std=102        (microseconds; of the warm-up)
    count=50 first=8102 curr=8110 min=8049 max=8410 avg=8121.7 std=51 p5=8052 median=8110 p95=8260
    Inference timings in us: Init: 12034, First inference: 8301, Warmup (avg): 8190.2, Inference (avg): 8121.7

It prints statistics, no single runs: a sample is the median of one start's runs where it prints one (newer versions),
else their mean. Equal runs are printed as ``count=1 curr=8301`` or ``count=3 curr=8301(all same)``.

onnxruntime's ``onnxruntime_perf_test`` for ONNX files:

    Session creation time cost: 0.0143211 s
    First inference time cost: 12 ms
    Total inference requests: 55
    Average inference time cost: 10.0593 ms            ("cost total:" in some versions)

It writes a line for each run into its result file, from which the samples are read (a sample is a run):

    folder,0.0100612,36696064,96,0                     (folder, seconds, bytes, per cent of the processor, number)

Very old versions write nanoseconds there; the average it prints tells the one from the other, and has to agree. It has
no warm-up but the first run, so the first lines are that.
"""

from __future__ import annotations

import math
import re
from pathlib import PurePosixPath

from dcd_deploy.devices.adb.runner import NUMBER, Effort, Output, Start, checked_ms

COUNT = re.compile(r"\bcount=(\d+)\b([^\n]*)")
FIELD = re.compile(rf"\b(first|curr|min|max|avg|std|p5|median|p95)={NUMBER}")
TIMINGS = re.compile(
    rf"Inference timings in us: Init: {NUMBER}, First inference: {NUMBER}, Warmup \(avg\): {NUMBER}, "
    rf"Inference \(avg\): {NUMBER}"
)
ROUNDING_BENCHMARK_MODEL = 1e-4  # six digits are printed


class BenchmarkModel:
    """The runner of TFLite files."""

    name = "benchmark_model"
    suffix = ".tflite"
    mark = b"Inference timings in us"
    results = None

    def words(self, model: PurePosixPath, effort: Effort) -> list[str]:
        """Return the arguments for one start."""
        return [
            f"--graph={model}",
            f"--num_threads={effort.threads}",
            f"--use_xnnpack={'false' if effort.plain else 'true'}",
            f"--num_runs={effort.runs}",
            f"--min_secs={effort.seconds:.6f}",
            f"--max_secs={max(1.0, effort.most_seconds):.3f}",
            f"--warmup_runs={max(1, effort.warmup_runs)}",
            f"--warmup_min_secs={effort.warmup_seconds:.6f}",
        ]

    def sample(self, output: Output) -> str:
        """Return what one of its samples is."""
        return f"the {'median' if 'median=' in output.said else 'mean'} of one start's runs"

    def parse(self, output: Output, effort: Effort) -> Start:
        """Return what one start found; what it says twice has to agree."""
        timings = list(TIMINGS.finditer(output.said))
        lines = [(int(match[1]), _fields(match[2])) for match in COUNT.finditer(output.said)]
        if len(timings) != 1:
            raise ValueError(f"{len(timings)} lines 'Inference timings in us'")
        if len(lines) < 2:
            raise ValueError(f"{len(lines)} lines 'count=' of warm-up and runs")
        init, first, warm, mean = map(float, timings[0].groups())
        (warmups, warmup), (runs, steady) = lines[-2:]
        if runs < effort.runs:
            raise ValueError(f"{runs} runs in place of {effort.runs}")
        if abs(steady["avg"] - mean) > ROUNDING_BENCHMARK_MODEL * mean or not _ordered(steady):
            raise ValueError(f"a mean of {mean:g} µs that is not that of its runs")
        if abs(warmup["avg"] - warm) > ROUNDING_BENCHMARK_MODEL * warm:
            raise ValueError(f"a warm-up of {warm:g} µs that is not that of its runs")
        value = checked_ms(steady.get("median", steady["avg"]) / 1e3, "a run")
        return Start(init / 1e3, checked_ms(first / 1e3, "a first run"), warmups * warm / 1e3, (value,))


def _fields(text: str) -> dict[str, float]:
    """Return the statistics of one line; where all runs took equally long only ``curr`` is printed."""
    found = {name: float(value) for name, value in FIELD.findall(text)}
    if "curr" in found and not found.keys() & {"first", "min", "max", "avg"}:
        return found | dict.fromkeys(("first", "min", "max", "avg"), found["curr"])
    if missing := {"first", "min", "max", "avg"} - set(found):
        raise ValueError(f"no '{min(missing)}=' among the statistics")
    return found


def _ordered(found: dict[str, float]) -> bool:
    middle = (found["avg"], found.get("median", found["avg"]))
    return all(
        found["min"] * (1 - ROUNDING_BENCHMARK_MODEL) <= value <= found["max"] * (1 + ROUNDING_BENCHMARK_MODEL)
        for value in middle
    )


FIELDS = {
    "load": re.compile(rf"Session creation time cost: {NUMBER} s"),
    "first": re.compile(rf"First inference time cost: {NUMBER} ms"),
    "runs": re.compile(r"Total inference requests: (\d+)"),
    "average": re.compile(rf"Average inference time cost(?: total)?: {NUMBER} ms"),
}
ROW = re.compile(rf"[^,\n]*,{NUMBER},\d+,-?\d+,(\d+)")
UNITS_MS = (1e3, 1e-6)  # seconds, or nanoseconds, in milliseconds
ROUNDING_PERF_TEST = 1e-3
RESULTS = PurePosixPath("results.csv")


class PerfTest:
    """The runner of ONNX files."""

    name = "onnxruntime_perf_test"
    suffix = ".onnx"
    mark = b"Session creation time cost"
    results = RESULTS

    def words(self, model: PurePosixPath, effort: Effort) -> list[str]:
        """Return the arguments for one start; its runs are those of the warm-up and those that count."""
        options = ["-e", "cpu", "-m", "times", "-r", str(effort.warmup_runs + effort.runs)]
        layout = ["-o", "2" if effort.plain else "99"]
        return [*options, "-x", str(effort.threads), "-y", "1", *layout, "-S", "1", "-I", str(model), str(RESULTS)]

    def sample(self, output: Output) -> str:  # noqa: ARG002 - the same whatever it says
        """Return what one of its samples is."""
        return "a run"

    def parse(self, output: Output, effort: Effort) -> Start:
        """Return what one start found."""
        found = {name: _only(pattern, output.said) for name, pattern in FIELDS.items()}
        rows = [match for line in output.written.splitlines() if (match := ROW.fullmatch(line.strip()))]
        if [int(row[2]) for row in rows] != list(range(int(found["runs"]))):
            raise ValueError(f"{len(rows)} runs in its result file in place of {found['runs']:g}")
        if len(rows) <= effort.warmup_runs:
            raise ValueError(f"{len(rows)} runs in place of {effort.warmup_runs + effort.runs}")
        times = _in_ms([float(row[1]) for row in rows], found["average"])
        warmup, runs = times[: effort.warmup_runs], times[effort.warmup_runs :]
        return Start(
            1e3 * found["load"], found["first"], math.fsum(warmup), tuple(checked_ms(run, "a run") for run in runs)
        )


def _in_ms(values: list[float], average_ms: float) -> list[float]:
    mean = math.fsum(values) / len(values)
    for unit in UNITS_MS:
        if abs(mean * unit - average_ms) <= ROUNDING_PERF_TEST * average_ms:
            return [value * unit for value in values]
    raise ValueError(f"an average of {average_ms:g} ms that is not that of its runs")


def _only(pattern: re.Pattern[str], said: str) -> float:
    found = {float(value) for value in pattern.findall(said)}  # some versions print the first lines twice
    if len(found) != 1:
        raise ValueError(f"{len(found)} times '{pattern.pattern.split('(')[0].strip()}'")
    return found.pop()
