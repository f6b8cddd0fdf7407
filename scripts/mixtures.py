"""Time mixtures of kernels: MobileNetV2 whose convolutions are DY-Conv, over the same network with static kernels.

    python scripts/mixtures.py --out FOLDER           about ten minutes; goes on where it ended
    python scripts/mixtures.py --out FOLDER --write   and write the tables into docs/performance.md

DY-Conv (arXiv 1912.03458) mixes four kernels, by a softmax, in all 1×1 convolutions, and in one of the two networks in
the depthwise ones too; the stem is static. Blocks of six runs of the twin and of each file alternate, on one thread,
whose processor time counts, since it leaves out what other programs take of a shared machine; all files are opened
anew several times. Nothing here is verified (the tests do that for every order); the weights are random, on which
latency does not depend.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from lower_bound import floor, streaming_pace
from pages import PERFORMANCE, options_of, write_part
from torch import Tensor, nn

from dcd_deploy.export.deployable import deployable
from dcd_deploy.export.onnx.in_blocks import in_blocks
from dcd_deploy.export.onnx.simplify import simplify
from dcd_deploy.export.onnx.trace import to_onnx
from dcd_deploy.export.tflite.convert import to_tflite
from dcd_deploy.files import write_whole
from dcd_deploy.lowering.capture import Captured, capture
from dcd_deploy.lowering.deploy import lower
from dcd_deploy.lowering.network import network_of
from dcd_deploy.lowering.static_twin import mean_heads, static_twin
from dcd_deploy.lowering.targets import LITERT, LITERT_COMPILED, ONNXRUNTIME_X86, PORTABLE_ONNX, Target
from dcd_deploy.models.registry import build
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.reports.terminal import live_progress
from dcd_deploy.runtimes.litert import LiteRtSession
from dcd_deploy.runtimes.litert_compiled import LiteRtCompiledSession
from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession

IMAGE, SIDE, KERNELS, REDUCTION = 3, 224, 4, 4
RUNS, DROPPED, TURNS, OPENINGS = 6, 2, 6, 4
NETWORKS = {"1×1 and depthwise": True, "1×1 alone": False}
RUNTIMES = {
    "onnxruntime": (ONNXRUNTIME_X86, PORTABLE_ONNX),
    "onnxruntime-plain": (PORTABLE_ONNX,),
    "litert": (LITERT,),
    "litert-compiled": (LITERT_COMPILED,),
}
TFLITE: dict[str, type[LiteRtSession]] = {"litert": LiteRtSession, "litert-compiled": LiteRtCompiledSession}
STATIC = "static"
Blocks = list[tuple[float, float]]  # milliseconds of each block of runs, the processor's and wall
Times = dict[str, Blocks]  # by file


class MixedKernels(nn.Module):
    """A convolution by Σ π_m W_m, π = softmax(fc2 relu(fc1 pool x)); (N, C, H, W) to (N, K, H', W')."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        squeezed = max(conv.in_channels // REDUCTION, KERNELS)
        self.fc1, self.fc2 = nn.Linear(conv.in_channels, squeezed), nn.Linear(squeezed, KERNELS)
        self.weight = nn.Parameter(torch.stack([conv.weight.detach()] * KERNELS))
        nn.init.kaiming_normal_(self.weight.flatten(0, 1))
        self.stride, self.padding, self.groups = conv.stride, conv.padding, conv.groups

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        mix = torch.softmax(self.fc2(torch.relu(self.fc1(x.mean((2, 3))))), 1)
        kernel = torch.mm(mix, self.weight.flatten(1)).view(-1, *self.weight.shape[2:])
        x = x.reshape(1, n * channels, height, width)
        y = nn.functional.conv2d(x, kernel, None, self.stride, self.padding, groups=n * self.groups)
        return y.view(n, -1, *y.shape[2:])


def dy_mobilenet(*, depthwise: bool) -> nn.Module:
    """Return MobileNetV2 ×1.0 with mixtures in place of its convolutions: the 1×1, and the depthwise ones if so."""
    torch.manual_seed(0)
    network = build(NetworkSpec("mobilenetv2")).eval()
    for path, conv in list(network.named_modules()):
        if isinstance(conv, nn.Conv2d) and conv.in_channels > IMAGE and (depthwise or conv.groups == 1):
            network.set_submodule(path, MixedKernels(conv))
    return network


def captured_with_twin(network: nn.Module) -> dict[str, Captured]:
    """Return the captured network, under "dynamic", and its static twin."""
    example = torch.randn(1, IMAGE, SIDE, SIDE)
    ready = capture(network_of(network, example))
    assert not ready.refused, ready.refused
    return {"dynamic": ready, STATIC: static_twin(ready, mean_heads(ready, [(example.double(),)]))}


def content(ready: Captured, target: Target) -> bytes:
    """Return an unverified model file."""
    module = lower(ready, target).module
    if target.format == "tflite":
        return to_tflite(deployable(module), SIDE, SIDE)
    model = simplify(to_onnx(module, SIDE, SIDE).tidied)
    made: bytes = (in_blocks(model) or model).SerializeToString()
    return made


def opened(runtime: str, path: Path) -> Callable[[], object]:
    """Open a file on one thread, and return what runs it."""
    images = np.random.default_rng(0).standard_normal((1, IMAGE, SIDE, SIDE), np.float32)
    if runtime in TFLITE:
        session: LiteRtSession = TFLITE[runtime](path, 1)
        return session.prepare(images)
    return OnnxRuntimeSession(path, 1, blocked=runtime == "onnxruntime").prepare(images)


def block(run: Callable[[], object]) -> tuple[float, float]:
    """Return the least processor time and the least wall time of the later runs of a block, in milliseconds."""
    times = []
    for _ in range(RUNS):
        before = time.thread_time(), time.perf_counter()
        run()
        times.append((1e3 * (time.thread_time() - before[0]), 1e3 * (time.perf_counter() - before[1])))
    processor, wall = zip(*times[DROPPED:], strict=True)
    return min(processor), min(wall)


def measured(runtime: str, files: dict[str, Path]) -> Times:
    """Return the times of all files, in turns, opened anew several times."""
    found: Times = {name: [] for name in files}
    for _ in range(OPENINGS):
        runs = {name: opened(runtime, path) for name, path in files.items()}
        for turn in range(TURNS):
            for name in sorted(runs, reverse=bool(turn % 2)):  # who goes first has another's leftovers in the caches
                found[name].append(block(runs[name]))
    return found


def ratio(times: Times, name: str, clock: int) -> str:
    """Return the median ratio of neighbouring blocks of a file and of its twin, with the quartiles."""
    pairs = zip(times[name], times[STATIC], strict=True)
    low, middle, high = statistics.quantiles([own[clock] / twin[clock] for own, twin in pairs], n=4)
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"


@dataclass
class Lab:
    """Where files and figures of one of the networks are kept; the network is made where it is first needed."""

    out: Path
    which: str

    @cached_property
    def ready(self) -> dict[str, Captured]:
        """The network, under "dynamic", and its twin."""
        return captured_with_twin(dy_mobilenet(depthwise=NETWORKS[self.which]))

    def file(self, target: Target, name: str) -> Path:
        """Return the file for a target, or, where STATIC is the name, its twin's, made now or before."""
        stem = STATIC if name == STATIC else f"{self.which.replace(' ', '_')}-{name}"
        path = self.out / f"{stem}.{target.format}"
        if not path.exists():
            with live_progress(path.name):
                write_whole(path, content(self.ready[STATIC if name == STATIC else "dynamic"], target))
        return path

    def figures(self, runtime: str) -> tuple[Times, float]:
        """Return the times of a runtime's files, and the floor over the twin, measured now or before."""
        path = self.out / f"{self.which.replace(' ', '_')}-{runtime}.json"
        if not path.exists():
            first, *_ = targets = RUNTIMES[runtime]
            files = {STATIC: self.file(first, STATIC)} | {each.name: self.file(each, each.name) for each in targets}
            pace = streaming_pace(files[first.name].stat().st_size)
            times = measured(runtime, files)
            least = floor(self.ready["dynamic"], first, fastest(times[STATIC]), pace)
            path.write_text(json.dumps([times, least.ratio, pace]), encoding="utf-8")
        times, least, _ = json.loads(path.read_text(encoding="utf-8"))
        return times, least


def fastest(blocks: Blocks) -> float:
    """Return the least processor time."""
    return min(processor for processor, _ in blocks)


def rows(out: Path) -> Iterator[str]:
    """Yield the rows of networks × runtimes."""
    yield "| dynamic | runtime | file | static ms | ms | over it | processor time | wall time | floor |"
    yield "|---|---|---|--:|--:|--:|--:|--:|--:|"
    for which in NETWORKS:
        lab = Lab(out, which)
        for runtime, targets in RUNTIMES.items():
            times, least = lab.figures(runtime)
            static = fastest(times[STATIC])
            for name in (target.name for target in targets):
                own = fastest(times[name])
                parts = (which, runtime, f"`{name}`", f"{static:.2f}", f"{own:.2f}", f"**{own / static:.2f}**")
                yield f"| {' | '.join((*parts, ratio(times, name, 0), ratio(times, name, 1), f'{least:.2f}'))} |"


def main() -> None:
    """Measure, and print or write."""
    options = options_of(__doc__).parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    text = "\n".join(rows(options.out))
    print(text)
    if options.write:
        write_part(PERFORMANCE, "mixtures", text)


if __name__ == "__main__":
    main()
