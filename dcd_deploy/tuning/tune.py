"""Tune a network for a device: measure each shape of layer in each form there, and choose.

shapes of the network's layers → for each: forms and static layer measured in turns (or kept from before)
→ the form that is surely the quickest, else the target's rule → a lowering file
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from dcd_deploy.benchmarks.environment import Environment
from dcd_deploy.benchmarks.measure import MeasureConfig
from dcd_deploy.benchmarks.place import Place
from dcd_deploy.benchmarks.worker import Answer, Request
from dcd_deploy.errors import MissingDependencyError, OptionError
from dcd_deploy.models.deploy.target import Target
from dcd_deploy.models.deploy.targets import LITERT, ONNXRUNTIME_ARM, ONNXRUNTIME_X86
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.progress import Progress
from dcd_deploy.tuning.choice import UNDECIDED, Choice, choose
from dcd_deploy.tuning.layer_cache import Measured, default_folder, kept_or_measured
from dcd_deploy.tuning.layer_case import LayerCase, cases_of
from dcd_deploy.tuning.layer_times import QUICK, LayerTimes, time_forms
from dcd_deploy.tuning.lowering_file import TunedLowering

TUNABLE = (ONNXRUNTIME_X86, ONNXRUNTIME_ARM, LITERT)
PACKAGES = {"onnxruntime": ("onnxruntime",), "litert": ("ai-edge-litert", "tflite-runtime")}


@dataclass(frozen=True)
class TuneConfig:
    """What to tune for; ``cache`` keeps what was measured."""

    target: Target
    size: tuple[int, int]
    threads: int = 1
    measure: MeasureConfig = QUICK
    cache: Path = field(default_factory=default_folder)


@dataclass(frozen=True)
class TunedShape:
    """One shape of layer: its layers, how long the static layer and each form took there, and the choice."""

    case: LayerCase
    layers: tuple[str, ...]
    median_us: dict[str, float]
    choice: Choice


@dataclass(frozen=True)
class TuneResult:
    """The lowering, and what it rests on."""

    lowering: TunedLowering
    shapes: tuple[TunedShape, ...]
    threads: int
    environment: Environment

    @property
    def undecided(self) -> int:
        """How many shapes the machine was too noisy for."""
        return sum(shape.choice.reason == UNDECIDED for shape in self.shapes)


def check_tunable(name: str) -> Target:
    """Return the target of that name.

    Raises:
        OptionError: it is no single runtime.
    """
    for target in TUNABLE:
        if target.name == name:
            return target
    names = ", ".join(target.name for target in TUNABLE)
    raise OptionError(f"expected a --target that is one runtime to measure on ({names}), found '{name}'")


def tune(spec: NetworkSpec, config: TuneConfig, place: Place, progress: Progress) -> TuneResult:
    """Measure every shape of the network's dynamic convolutions at ``place`` and choose.

    Raises:
        MissingDependencyError: the target's runtime is not there.
        DcdDeployError: a layer could not be made or measured; what was measured before is kept.
    """
    environment = place.environment()
    runtime = runtime_of(config.target, environment)
    where = Measured(place.name, environment.cpu, runtime, _version(environment, runtime, place.name), config.threads)
    cases = cases_of(spec, *config.size)
    shapes = []
    for number, (case, layers) in enumerate(cases.items(), 1):
        stage = f"[{number}/{len(cases)}] {case.title}"
        measure = _measurer(case, config, runtime, place, _prefixed(progress, stage))
        times = kept_or_measured(config.cache, case, config.target, where, measure)
        choice = choose(times, config.target.choose(case.geometry, case.size, activated=case.activated))
        medians = {form: times.median_ms(form) * 1e3 for form in times.samples}
        shapes.append(TunedShape(case, tuple(layers), medians, choice))
    return TuneResult(_lowering(spec, config, where, shapes), tuple(shapes), config.threads, environment)


def runtime_of(target: Target, environment: Environment) -> str:
    """Return the runtime to measure a target on; for ARM elsewhere it is onnxruntime without its blocked layout."""
    if target is LITERT:
        return "litert"
    elsewhere = not environment.system.endswith(("aarch64", "arm64"))
    return "onnxruntime-plain" if target is ONNXRUNTIME_ARM and elsewhere else "onnxruntime"


def _measurer(
    case: LayerCase, config: TuneConfig, runtime: str, place: Place, progress: Progress
) -> Callable[[], LayerTimes]:
    def ask(request: Request, time_limit: float) -> Answer:
        place.prepare([Path(path) for path in request.models.values()], runtime, progress)
        with progress("measure in turns"):
            return place.ask(request, time_limit)

    def measure() -> LayerTimes:
        return time_forms(case, config.target, runtime, ask, config.measure, config.threads, progress)

    return measure


def _prefixed(progress: Progress, prefix: str) -> Progress:
    def stage(text: str) -> AbstractContextManager[None]:
        return progress(f"{prefix}: {text}")

    return stage


def version_of(runtime: str, environment: Environment) -> str | None:
    """Return the version of a runtime's package; None where it is not installed."""
    packages = PACKAGES[runtime.removesuffix("-plain")]
    return next((environment.packages[name] for name in packages if name in environment.packages), None)


def _version(environment: Environment, runtime: str, device: str) -> str:
    if (found := version_of(runtime, environment)) is not None:
        return found
    packages = " or ".join(PACKAGES[runtime.removesuffix("-plain")])
    raise MissingDependencyError(
        f"expected {packages} on '{device}' to tune for, found none; install it there, or choose another --target"
    )


def _lowering(spec: NetworkSpec, config: TuneConfig, where: Measured, shapes: list[TunedShape]) -> TunedLowering:
    return TunedLowering(
        target=config.target.name,
        format=config.target.format,
        arch=spec.arch,
        width_mult=spec.width_mult,
        input=config.size,
        runtime=where.runtime,
        runtime_version=where.runtime_version,
        device=where.device,
        cpu=where.cpu,
        layers={name: shape.choice.form for shape in shapes for name in shape.layers},
    )
