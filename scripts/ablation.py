"""What each lowering and pass gives: networks built without it, timed in turns with all the others.

    python scripts/ablation.py --out FOLDER [--write]      about a quarter of an hour; goes on where it ended

For each network and runtime in one process, in turns: the target's rule as it is; every layer in one lowering; the
rule without one lowering; pooling by windows in place of means. Nothing here is verified (the tests do that for every
lowering); the weights are random, on which latency does not depend.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pages import PERFORMANCE, measured_on, options_of, write_part
from torch import nn

from dcd_deploy.artifacts import Preprocessing
from dcd_deploy.benchmarks.bench import BenchConfig, bench, case
from dcd_deploy.benchmarks.measure import MeasureConfig
from dcd_deploy.benchmarks.results import read_result, write_result
from dcd_deploy.benchmarks.sweep import NETWORKS
from dcd_deploy.export.build_config import BuildConfig, picture_network
from dcd_deploy.export.deployable import deployable
from dcd_deploy.export.onnx.in_blocks import in_blocks
from dcd_deploy.export.onnx.simplify import simplify
from dcd_deploy.export.onnx.trace import to_onnx
from dcd_deploy.export.tflite.convert import to_tflite
from dcd_deploy.export.twin import twin_network
from dcd_deploy.files import write_whole
from dcd_deploy.lowering.capture import Captured, capture
from dcd_deploy.lowering.channels_first import attention
from dcd_deploy.lowering.deploy import lower
from dcd_deploy.lowering.passes.substitute import AUTO
from dcd_deploy.lowering.targets import LITERT, ONNXRUNTIME_ARM, ONNXRUNTIME_X86, Target
from dcd_deploy.models.random_weights import calibrated_network
from dcd_deploy.reports.terminal import live_progress

SIDE = 224
SHOWN = ("mobilenetv2_dcd_x1.0", "mobilenetv2_dcd_x0.5", "resnet18_dcd")
RUNTIMES = {"onnxruntime": ONNXRUNTIME_X86, "onnxruntime-plain": ONNXRUNTIME_ARM, "litert": LITERT}
WINDOWS = "pooling by windows"


def variants(target: Target) -> dict[str, tuple[str, Target]]:
    """Return lowering and target of each variant, by what it is."""
    found = {"the rule": (AUTO, target)}
    found |= {f"all {name}": (name, target) for name in target.lowerings}
    for name in target.lowerings:
        others = tuple(other for other in target.lowerings if other != name)
        found[f"without {name}"] = (AUTO, replace(target, lowerings=others))
    if target.format == "onnx":
        found[WINDOWS] = (AUTO, target)
    return found


@contextmanager
def pooling(variant: str) -> Iterator[None]:
    """Let the attention pool by windows, if that is the variant."""
    kept = attention.Pool.whole_by_means, attention.LARGE
    if variant == WINDOWS:
        attention.Pool.whole_by_means, attention.LARGE = False, 10**9
    try:
        yield
    finally:
        attention.Pool.whole_by_means, attention.LARGE = kept


def captured_of(network: nn.Module) -> Captured:
    """Return a network of pictures, captured."""
    return capture(picture_network(network, BuildConfig(Preprocessing.for_size(SIDE, SIDE))))


def content(captured: Captured, lowering: str, target: Target) -> bytes:
    """Return an unverified model file."""
    deploy = lower(captured, target, lowering).module
    if target.format == "tflite":
        return to_tflite(deployable(deploy), SIDE, SIDE)
    model = simplify(to_onnx(deploy, SIDE, SIDE).tidied)
    content: bytes = (in_blocks(model) or model).SerializeToString()
    return content


def measured(out: Path, name: str, runtime: str, target: Target) -> Iterator[str]:
    """Yield the rows of one network on one runtime, measured now or before."""
    path = out / f"{name}-{runtime}.json"
    if not path.exists():
        captured, files = captured_of(calibrated_network(NETWORKS[name], SIDE)), {}
        for variant, (lowering, changed) in variants(target).items():
            file = out / f"{name}-{target.name}-{variant.replace(' ', '_')}.{target.format}"
            files[variant] = file
            if not file.exists():
                with live_progress(f"{name}, {target.name}: {variant}"), pooling(variant):
                    write_whole(file, content(captured, lowering, changed))
        static = out / f"{name}-static.{target.format}"
        if not static.exists():
            write_whole(static, content(captured_of(twin_network(NETWORKS[name])), AUTO, target))
        first, *others = files.items()
        config = BenchConfig(MeasureConfig(min_seconds=20.0), memory=False)
        with live_progress(f"{name} on {runtime}"):
            twin = case(static, runtime, None, [(variant, file) for variant, file in [first, *others]])
            write_result(path, bench([twin], config))
    result = read_result(path)
    trial = result.trials[0]
    for variant, ratio in trial.ratios.items():  # static over variant
        yield f"| {name} | {runtime} | {variant} | {1 / ratio.median:.2f} ({1 / ratio.high:.2f}–{1 / ratio.low:.2f}) |"


def main() -> None:
    """Measure, and print or write."""
    options = options_of(__doc__).parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = ["| network | runtime | variant | over the static twin (95 %) |", "|---|---|---|--:|"]
    for name in SHOWN:
        for runtime, target in RUNTIMES.items():
            rows += measured(options.out, name, runtime, target)
    kept = read_result(options.out / f"{SHOWN[0]}-onnxruntime.json")
    rows += ["", f"{measured_on(kept)}. `python scripts/ablation.py` makes it."]
    text = "\n".join(rows)
    print(text)
    if options.write:
        write_part(PERFORMANCE, "ablation", text)


if __name__ == "__main__":
    main()
