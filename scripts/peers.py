"""Time our files beside the network as released, in the runtimes that take it, into docs/performance.md.

    python scripts/peers.py --out FOLDER           some minutes; the files are those of scripts/price.py
    python scripts/peers.py --out FOLDER --write   and write the table

What anyone can have today is the network as torch exports it ("released"), in the quickest runtime that takes it; the
best of these is the peer. Processor time, since runtimes differ in what their threads do while they wait; one thread,
batch 1, float32. The environments are those that ``dcd-deploy runtimes --setup openvino,mnn`` makes; their packages
are joined to ours for this one process.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pages import PERFORMANCE, options_of, write_part
from speed import SIDE, Lab

from dcd_deploy.benchmarks.environment import read_environment
from dcd_deploy.benchmarks.measure import Samples
from dcd_deploy.benchmarks.statistics import ratio
from dcd_deploy.benchmarks.worker import random_inputs
from dcd_deploy.export.released import export_released
from dcd_deploy.reports.terminal import live_progress
from dcd_deploy.reports.wording import environment_line, span
from dcd_deploy.runtimes.environments import set_up
from dcd_deploy.runtimes.model import open_model
from dcd_deploy.runtimes.others import worker

NETWORKS = ("mobilenetv2_dcd_x1.0", "mobilenetv2_dcd_x0.5")
PEERS = ("openvino", "onnxruntime", "mnn")
OURS = {
    "onnxruntime": ("onnxruntime-x86", "onnx"),
    "litert": ("litert", "tflite"),
    "litert-compiled": ("litert-compiled", "tflite"),
    "executorch": ("executorch", "pte"),
}  # runtime → its own target, and the format
OPENINGS, BLOCKS = 5, 30
AGREEMENT = 5e-5  # of the range, as for our own files
Opened = Callable[[], Callable[..., object]]  # what opens a file; the result runs it once


def join(runtime: str) -> None:
    """Make a runtime's packages importable here, after our own."""
    sys.path.extend(map(str, set_up(runtime).glob("lib/python*/site-packages")))


def peer(runtime: str, path: Path, values: Mapping[str, Any]) -> Callable[..., object]:
    """Open a file in a runtime, as ``dcd-deploy runtimes`` does."""
    module = worker.module_of(Path(worker.__file__).with_name(f"{runtime}.py"))
    run = module.opened(str(path), {name: each.shape for name, each in values.items()}, ["logits"], 1)
    return lambda _: run(values)


def check_agreement(path: Path, values: Mapping[str, Any]) -> None:
    """Raise SystemExit where two of the runtimes compute different things: a wrong answer is no peer."""
    answers = [np.asarray(peer(name, path, values)(values)) for name in PEERS]
    for name, answer in zip(PEERS, answers, strict=True):
        error = float(np.abs(answer - answers[0]).max() / np.ptp(answers[0]))
        if not error <= AGREEMENT:
            raise SystemExit(f"{path.name}: {name} is {error:.1e} of the range from {PEERS[0]}")


def own(runtime: str, path: Path) -> Callable[..., object]:
    """Open a file of ours, as an app does."""
    model = open_model(path, threads=1, runtime=runtime)
    run = model.session.prepare(*random_inputs(model, 1))
    return lambda _: run()


def measured(candidates: Mapping[str, Opened]) -> dict[str, Samples]:
    """Return processor time, block by block, of all in turns, opened anew in each round."""
    blocks: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(OPENINGS):
        runs = [partial(opened(), {}) for opened in candidates.values()]
        for (cpu, _wall), kept in zip(worker.timed(runs, BLOCKS), blocks.values(), strict=True):
            kept.extend(cpu)
    rounds = tuple(index for index in range(OPENINGS) for _ in range(BLOCKS))
    return {name: Samples((), (), (), tuple((each,) for each in kept), rounds) for name, kept in blocks.items()}


def rows(lab: Lab, network: str) -> Iterator[str]:
    """Yield the rows of one network: what was run where, its time, its ratio to the best peer."""
    files = {runtime: lab.model(network, *target) for runtime, target in OURS.items()}
    released = lab.out / f"{network}-released.onnx"
    if not released.exists():
        export_released(open_model(files["onnxruntime"]).described(), released)
    values = {"input": np.random.default_rng(0).standard_normal((1, 3, SIDE, SIDE), np.float32)}
    check_agreement(released, values)
    candidates: dict[str, Opened] = {f"as released | {name}": partial(peer, name, released, values) for name in PEERS}
    candidates |= {f"ours | {name}": partial(own, name, path) for name, path in files.items()}
    candidates["static twin | openvino"] = partial(peer, "openvino", lab.static(network, "onnx"), values)
    samples = measured(candidates)
    best = min((name for name in samples if name.startswith("as released")), key=lambda name: middle(samples[name]))
    for name, each in samples.items():
        over = ratio(each, samples[best])
        share = "1" if name == best else f"{over.median:.2f} ({span(over)})"
        yield f"| {network} | {name} | {middle(each):.2f} | {share} |"


def middle(samples: Samples) -> float:
    """Return the median of the blocks, in milliseconds."""
    return float(np.median(samples.blocks_ms))


def main() -> None:
    """Measure, and print or write."""
    options = options_of(__doc__).parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for runtime in ("openvino", "mnn"):
        join(runtime)
    environment = read_environment()
    lines = ["| network | form | runtime | ms of processor time | over the best peer (95 %) |", "|---|---|---|--:|--:|"]
    for network in NETWORKS:
        with live_progress(network):
            lines.extend(rows(Lab(options.out), network))
    caption = f"{SIDE}×{SIDE}, {environment_line(environment)}. `python scripts/peers.py` makes this table."
    text = "\n".join([*lines, "", caption])
    print(text)
    if options.write:
        write_part(PERFORMANCE, "peers", text)


if __name__ == "__main__":
    main()
