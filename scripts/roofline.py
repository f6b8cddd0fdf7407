"""Measure each layer's parts against a roofline, in LiteRT's CompiledModel and in ExecuTorch, for docs/performance.md.

    python scripts/roofline.py --out FOLDER           two minutes, and some to make models, which FOLDER keeps
    python scripts/roofline.py --out FOLDER --write   and write docs/figures/roofline.csv and the table

Dynamic files and their static twins run in turns in one process, on one thread, RUNS times with each runtime's
profiler and as often without. Of each operator the least time counts, rounded down to a microsecond by the profiler;
what is between the operators, or lost in rounding, is a row of its own. ``roofline_parts`` says what the roofline is.
Multiply-adds count at the pace of the quickest operator, maps at that of the quickest pooling or of a copy within the
cache, weights at the one at which a block of the file's size is read over and over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from lower_bound import READS, streaming_pace
from pages import PERFORMANCE, options_of, write_part
from price import RUNTIMES
from roofline_parts import DATA, PARTS, Paces, Part, parts, write_parts
from speed import Lab
from xnnpack_graph import POOLING, layered, operators

from dcd_deploy.benchmarks.environment import read_environment
from dcd_deploy.benchmarks.litert_profiler import OperatorTime, ProfiledLiteRt
from dcd_deploy.benchmarks.profile_executorch import read_runs
from dcd_deploy.benchmarks.profile_litert import match
from dcd_deploy.benchmarks.worker import random_inputs
from dcd_deploy.export.tflite.file import read_tflite_nodes
from dcd_deploy.reports.terminal import live_progress
from dcd_deploy.reports.wording import environment_line
from dcd_deploy.runtimes.executorch import ExecuTorchSession
from dcd_deploy.runtimes.litert import laid_out
from dcd_deploy.runtimes.litert_compiled import FLAGS
from dcd_deploy.runtimes.model import open_model
from dcd_deploy.runtimes.nodes import FileNode

NETWORKS = ("mobilenetv2_dcd_x1.0", "mobilenetv2_dcd_x0.5")
LITERT, EXECUTORCH = "litert-compiled", "executorch"
TWIN = "static twin of "
RUNS = 250
CACHED_BYTES = 1 << 18  # a map that lies in a core's own cache
LONG_US = 20.0  # an operator whose pace the profiler's microseconds do not spoil


class Profiled:
    """A file opened with and without its runtime's profiler; of each node, and of the whole, the least time counts."""

    def __init__(self, file: str, kernel: str, path: Path, nodes: Sequence[FileNode]) -> None:
        self.file, self.kernel, self.nodes, self.whole = file, kernel, nodes, float("inf")
        model = open_model(path, threads=1, runtime=kernel)
        inputs = random_inputs(model)
        self._run = model.session.prepare(*inputs)
        self._runs: list[list[OperatorTime]] = []
        if kernel == LITERT:
            given = [laid_out(values, entry) for values, entry in zip(inputs, model.session.inputs, strict=True)]
            self._litert = ProfiledLiteRt(path, given, 1, FLAGS)
        else:
            self._session = ExecuTorchSession(path, 1, trusted=True, traced=True)
            self._traced = self._session.prepare(*inputs)

    def run(self) -> None:
        """Run once without the profiler and once with it."""
        start = time.process_time()
        self._run()
        self.whole = min(self.whole, 1e6 * (time.process_time() - start))
        if self.kernel == LITERT:
            self._runs.append(self._litert.profile())
        else:
            self._traced()

    def times(self) -> list[float]:
        """Return the microseconds of each node; a program's operators have no names, but an order."""
        if self.kernel != LITERT:
            traced = read_runs(self._session.trace())
            self._runs = [[OperatorTime(name, None, round(1e3 * ms)) for name, ms in run] for run in traced]
        first = self._runs[0]
        runs = [[operator.elapsed_us for operator in run] for run in self._runs if len(run) == len(first)]
        places = match(first, self.nodes)
        assert places is not None, "XNNPACK ran other operators than the file has"
        found = [0.0] * len(self.nodes)
        for place, us in zip(places, np.min(runs, axis=0), strict=True):
            found[place] += float(us)
        return found


def files_of(lab: Lab, network: str) -> Iterator[Profiled]:
    """Yield a network and its twin in both kernels."""
    for file, model in ((network, lab.model), (TWIN + network, _twin(lab))):
        tflite, program = (model(network, *RUNTIMES[kernel]) for kernel in (LITERT, EXECUTORCH))
        nodes = read_tflite_nodes(tflite)
        first: dict[str, FileNode] = {}
        for node in nodes:
            if node.layer and (node.macs or node.operator == POOLING):
                first.setdefault(node.layer, node)
        yield Profiled(file, LITERT, tflite, nodes)
        yield Profiled(file, EXECUTORCH, program, layered(operators(program), list(first.values())))


def _twin(lab: Lab) -> Callable[[str, str, str], Path]:
    return lambda network, _target, format: lab.static(network, format)


def cached_pace() -> float:
    """Return the bytes a millisecond at which one thread copies what lies in its own cache, read and written."""
    one, other = np.ones((2, CACHED_BYTES // 8), np.float32)
    times = []
    for _ in range(READS):
        start = time.perf_counter()
        np.copyto(one, other)
        times.append(time.perf_counter() - start)
    return 2 * one.nbytes / (min(times) * 1e3)


def measured(lab: Lab) -> tuple[list[Profiled], list[list[float]], Paces]:
    """Return all files, the microseconds of their nodes, and the paces of the machine meanwhile."""
    files, weights, maps = [each for network in NETWORKS for each in files_of(lab, network)], 0.0, 0.0
    size = lab.model(NETWORKS[0], *RUNTIMES[LITERT]).stat().st_size
    with live_progress(f"{RUNS} runs of {len(files)} files"):
        for turn in range(RUNS):
            for each in files:
                each.run()
            if turn % 10 == 0:
                weights, maps = max(weights, streaming_pace(size)), max(maps, cached_pace())
    times = [each.times() for each in files]
    ran = [
        run
        for each, own in zip(files, times, strict=True)
        for run in zip(each.nodes, own, strict=True)
        if run[1] > LONG_US
    ]
    macs = max(1e3 * node.macs / us for node, us in ran)
    pooled = max(1e3 * node.bytes_read / us for node, us in ran if node.operator == POOLING)
    return files, times, Paces(macs, weights, max(maps, pooled))


def table(files: Sequence[Profiled], found: Sequence[Part]) -> Iterator[str]:
    """Yield the sums of each part over a network."""
    yield "| network | kernel | part | operators | measured µs | roofline µs | excess µs |"
    yield "|---|---|---|--:|--:|--:|--:|"
    for each in files:
        own = [part for part in found if (part.file, part.kernel) == (each.file, each.kernel)]
        head = f"| {each.file} | {each.kernel} |"
        for part, words in PARTS.items():
            if group := [one for one in own if one.part == part]:
                count, us = sum(one.operators for one in group), sum(one.us for one in group)
                least = sum(one.roofline_us for one in group)
                yield f"{head} {words} | {count} | {us:.0f} | {least:.0f} | {round(us - least)} |"
        between, least = each.whole - sum(part.us for part in own), sum(part.roofline_us for part in own)
        yield f"{head} between the operators, and rounding | | {between:.0f} | 0 | {between:.0f} |"
        yield f"{head} **whole run** | {len(each.nodes)} | {each.whole:.0f} | {least:.0f} | {each.whole - least:.0f} |"


def main() -> None:
    """Measure, and print or write."""
    options = options_of(__doc__).parse_args()
    files, times, paces = measured(Lab(options.out))
    found = [
        part
        for each, own in zip(files, times, strict=True)
        for part in parts(each.file, each.kernel, each.nodes, own, paces)
    ]
    machine = (
        f"{paces.macs / 1e6:.0f} G multiply-adds, {paces.weights / 1e6:.0f} GB of weights and "
        f"{paces.maps / 1e6:.0f} GB of maps a second; {environment_line(read_environment())}"
    )
    makes = "`python scripts/roofline.py` makes this table, and `figures/roofline.csv` with each part of each layer."
    text = "\n".join([*table(files, found), "", f"{machine}. {makes}"])
    print(text)
    write_parts(options.out / DATA.name, found)
    if options.write:
        write_parts(DATA, found)
        write_part(PERFORMANCE, "roofline", text)


if __name__ == "__main__":
    main()
