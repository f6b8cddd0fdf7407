"""Measure every network of the registry on every target, and write the tables into docs/performance.md.

    python scripts/speed.py --out FOLDER           about an hour; goes on where it ended
    python scripts/speed.py --out FOLDER --write   and write the tables

In one process for each network and runtime, in turns: the file for that very target, the portable file, the static
twin; beside it the floor, reckoned from the twin's time and the pace at which memory is read just now. Then, for some:
two threads, batches of 4 and 8, and the wider static networks that are as accurate. Latency does not depend on the
weights, so they are random.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lower_bound import floor, streaming_pace
from pages import PERFORMANCE, measured_on, options_of, write_part

from dcd_deploy import commands
from dcd_deploy.artifacts import Preprocessing
from dcd_deploy.benchmarks.bench import BenchConfig, bench, case
from dcd_deploy.benchmarks.measure import MeasureConfig
from dcd_deploy.benchmarks.results import BenchResult, Trial, read_result, write_result
from dcd_deploy.benchmarks.sweep import NETWORKS
from dcd_deploy.export.build_config import BuildConfig, picture_network
from dcd_deploy.export.twin import write_twin
from dcd_deploy.lowering.capture import Captured, capture
from dcd_deploy.lowering.targets import target_for
from dcd_deploy.models.random_weights import calibrated_network, save_checkpoint
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.reports.terminal import live_progress
from dcd_deploy.reports.wording import span

SIDE = 224
TOLERANCE = 5e-4  # random weights may amplify rounding tenfold, on some processors; trained ones are held to 5e-5
TARGETS = {
    "onnxruntime": ("onnxruntime-x86", "onnx"),
    "onnxruntime-plain": ("onnxruntime-arm", "onnx"),
    "litert": ("litert", "tflite"),
}  # runtime → its own target, and the format
DEEPER = {name: NetworkSpec(name) for name in ("resnet10_dcd", "resnet34_dcd", "resnet101_dcd", "resnet152_dcd")}
ALL = NETWORKS | DEEPER
SOME = ("mobilenetv2_dcd_x1.0", "mobilenetv2_dcd_x0.5", "resnet18_dcd")
RIVALS = {"mobilenetv2_dcd_x0.5": 0.75, "mobilenetv2_dcd_x0.75": 1.4}  # the static width that is about as accurate
MEASURE = MeasureConfig(min_seconds=8.0)


@dataclass(frozen=True)
class Lab:
    """Where models and results are kept."""

    out: Path

    def model(self, network: str, target: str, format: str, batch: int = 1) -> Path:
        """Return a verified file of a network for a target, made now or before."""
        path = self.out / f"{network}-{target}-b{batch}.{format}"
        if not path.exists():
            checkpoint = self.out / f"{network}.pth.tar"
            if not checkpoint.exists():
                spec = ALL[network]
                save_checkpoint(checkpoint, calibrated_network(spec, SIDE), spec.arch)
            out, name = self.out, path.stem
            commands.export(checkpoint, to=format, target=target, batch=batch, tolerance=TOLERANCE, out=out, name=name)
        return path

    def static(self, network: str, format: str, batch: int = 1, width: float | None = None) -> Path:
        """Return the static twin, or that of another width."""
        spec = ALL[network]
        width = spec.width_mult if width is None else width
        path = self.out / f"{spec.twin().arch}-{width:g}-b{batch}.{format}"
        if not path.exists():
            wanted = NetworkSpec(spec.arch, spec.num_classes, width, spec.fc_squeeze, spec.dropout)
            write_twin(wanted, BuildConfig(Preprocessing.for_size(SIDE, SIDE), batch), path)
        return path

    def trial(self, model: Path, runtime: str, static: Path, others: list[tuple[str, Path]], threads: int = 1) -> Trial:
        """Return a trial, measured now or before."""
        path = self.out / "trials" / f"{model.stem}-{runtime}-{static.stem}-t{threads}.json"
        if not path.exists():
            config = BenchConfig(MEASURE, memory=False, cpus=tuple(range(threads)))
            result = bench([case(model, runtime, static, others, threads=threads)], config)
            write_result(path, result)
        return read_result(path).trials[0]


def main_rows(lab: Lab) -> Iterator[str]:
    """Yield the rows of the networks × targets."""
    yield "| network | runtime | target | nodes | MB | static ms | DCD ms | ratio (95 %) | portable file |"
    yield "|---|---|---|--:|--:|--:|--:|--:|--:|"
    for network in ALL:
        for runtime, (target, format) in TARGETS.items():
            with live_progress(f"{network} on {runtime}"):
                model, portable = lab.model(network, target, format), lab.model(network, "portable", format)
                trial = lab.trial(model, runtime, lab.static(network, format), [("portable", portable)])
            own, static, other = trial.timings
            yield " | ".join(
                (
                    f"| {network}",
                    runtime,
                    target,
                    str(_nodes(model)),
                    f"{model.stat().st_size / 1e6:.1f}",
                    f"{static.latency.median_ms:.2f}",
                    f"{own.latency.median_ms:.2f}",
                    span_of(trial, static.name),
                    f"{own_over_portable(trial, other.name)} |",
                )
            )


def own_over_portable(trial: Trial, portable: str) -> str:
    """Return the portable file's time over the static twin's, from the medians of the same turns."""
    times = {timing.name: timing.latency.median_ms for timing in trial.timings}
    return f"{times[portable] / trial.timings[1].latency.median_ms:.2f}"


def captured_of(spec: NetworkSpec) -> Captured:
    """Return a network with random weights, captured."""
    return capture(picture_network(calibrated_network(spec, SIDE), BuildConfig(Preprocessing.for_size(SIDE, SIDE))))


def floor_rows(lab: Lab) -> Iterator[str]:
    """Yield the rows of the least that each network can take, beside what it takes; milliseconds."""
    yield "| network | target | twin | MACs | weights | floor | over the twin | measured | ms beyond the floor |"
    yield "|---|---|--:|--:|--:|--:|--:|--:|--:|"
    for network, spec in ALL.items():
        captured = captured_of(spec)
        for runtime, (name, format) in TARGETS.items():
            model, portable = lab.model(network, name, format), lab.model(network, "portable", format)
            trial = lab.trial(model, runtime, lab.static(network, format), [("portable", portable)])
            own, static = trial.timings[:2]
            pace = streaming_pace(model.stat().st_size)
            least = floor(captured, target_for(name, format), static.latency.median_ms, pace)
            parts = (least.static_ms, least.macs_ms, least.weights_ms, least.ms, least.ratio)
            found = (trial.ratios[static.name].median, own.latency.median_ms - least.ms)
            yield f"| {network} | {name} | {' | '.join(f'{part:.2f}' for part in (*parts, *found))} |"


def thread_and_batch_rows(lab: Lab) -> Iterator[str]:
    """Yield the rows of more than one thread and of larger batches."""
    yield "| network | runtime | threads | batch | static ms | DCD ms | ratio (95 %) |"
    yield "|---|---|--:|--:|--:|--:|--:|"
    for network in SOME:
        for runtime, (target, format) in TARGETS.items():
            for threads, batch in ((2, 1), (1, 4), (1, 8)):
                with live_progress(f"{network} on {runtime}, {threads} threads, batch {batch}"):
                    model, static = lab.model(network, target, format, batch), lab.static(network, format, batch)
                    trial = lab.trial(model, runtime, static, [], threads)
                own, twin = trial.timings
                times = f"{twin.latency.median_ms:.2f} | {own.latency.median_ms:.2f}"
                yield f"| {network} | {runtime} | {threads} | {batch} | {times} | {span_of(trial, twin.name)} |"


def rival_rows(lab: Lab) -> Iterator[str]:
    """Yield the rows of dynamic networks beside wider static ones."""
    yield "| dynamic | static | runtime | static ms | DCD ms | ratio (95 %) |"
    yield "|---|---|---|--:|--:|--:|"
    for network, width in RIVALS.items():
        for runtime, (target, format) in TARGETS.items():
            with live_progress(f"{network} beside static ×{width:g} on {runtime}"):
                model, rival = lab.model(network, target, format), lab.static(network, format, width=width)
                trial = lab.trial(model, runtime, rival, [])
            own, static = trial.timings
            times = f"{static.latency.median_ms:.2f} | {own.latency.median_ms:.2f}"
            yield f"| {network} | ×{width:g} | {runtime} | {times} | {span_of(trial, static.name)} |"


def span_of(trial: Trial, name: str) -> str:
    """Return the ratio over a file, with its interval."""
    found = trial.ratios[name]
    return f"{found.median:.2f} ({span(found)})"


def _nodes(model: Path) -> int:
    said = json.loads(model.with_name(f"{model.name}.json").read_text(encoding="utf-8"))
    return int(said["graph"]["finished"]["nodes"])


def speed_caption(lab: Lab) -> str:
    """Return the machine and the protocol of the first trial."""
    result: BenchResult = read_result(next(iter(sorted((lab.out / "trials").iterdir()))))
    return measured_on(result)


def main() -> None:
    """Measure, and print or write."""
    options = options_of(__doc__).parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    lab = Lab(options.out)
    tables = ["\n".join(rows(lab)) for rows in (main_rows, floor_rows, rival_rows, thread_and_batch_rows)]
    text = "\n\n".join([*tables, f"{speed_caption(lab)}. `python scripts/speed.py` makes these tables."])
    print(text)
    if options.write:
        write_part(PERFORMANCE, "speed", text)


if __name__ == "__main__":
    main()
