"""onnxruntime's ``onnxruntime_perf_test`` for ONNX files: what it is asked for, and what it says and writes.

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

FIELDS = {
    "load": re.compile(rf"Session creation time cost: {NUMBER} s"),
    "first": re.compile(rf"First inference time cost: {NUMBER} ms"),
    "runs": re.compile(r"Total inference requests: (\d+)"),
    "average": re.compile(rf"Average inference time cost(?: total)?: {NUMBER} ms"),
}
ROW = re.compile(rf"[^,\n]*,{NUMBER},\d+,-?\d+,(\d+)")
UNITS_MS = (1e3, 1e-6)  # seconds, or nanoseconds, in milliseconds
ROUNDING = 1e-3
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
        if abs(mean * unit - average_ms) <= ROUNDING * average_ms:
            return [value * unit for value in values]
    raise ValueError(f"an average of {average_ms:g} ms that is not that of its runs")


def _only(pattern: re.Pattern[str], said: str) -> float:
    found = {float(value) for value in pattern.findall(said)}  # some versions print the first lines twice
    if len(found) != 1:
        raise ValueError(f"{len(found)} times '{pattern.pattern.split('(')[0].strip()}'")
    return found.pop()
