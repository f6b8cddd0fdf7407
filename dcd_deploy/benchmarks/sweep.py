"""All published networks beside their static twins, and all of them against each other, resumable.

    OUT/models/    the networks with random weights, exported and verified, and their twins
    OUT/trials/    the result of each trial, as soon as it is measured
    OUT/sweep.json all results

What is there already is not made again, unless it was made for another input size, or measured on another machine,
with other settings or from other files.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from dcd_deploy.artifacts import Preprocessing
from dcd_deploy.benchmarks.bench import BenchConfig, Case, bench, case, check_cores, failure
from dcd_deploy.benchmarks.compare import differences
from dcd_deploy.benchmarks.environment import read_environment
from dcd_deploy.benchmarks.process import LOCAL
from dcd_deploy.benchmarks.results import BenchResult, Failure, Trial, read_result, write_result
from dcd_deploy.errors import BenchError, DcdDeployError, OptionError, ResultFileError, UnknownNameError
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.pipeline import ExportConfig, export_checkpoint
from dcd_deploy.files import sha256
from dcd_deploy.models.checkpoint import read_checkpoint
from dcd_deploy.models.random_weights import calibrated_network, save_checkpoint
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.progress import Progress
from dcd_deploy.runtimes.choice import RUNTIMES

NETWORKS = {
    "mobilenetv2_dcd_x0.35": NetworkSpec("mobilenetv2_dcd", 1000, 0.35, 8, 0.1),
    "mobilenetv2_dcd_x0.5": NetworkSpec("mobilenetv2_dcd", 1000, 0.5, 8, 0.1),
    "mobilenetv2_dcd_x0.75": NetworkSpec("mobilenetv2_dcd", 1000, 0.75, 16, 0.1),
    "mobilenetv2_dcd_x1.0": NetworkSpec("mobilenetv2_dcd", 1000, 1.0, 16, 0.1),
    "resnet18_dcd": NetworkSpec("resnet18_dcd"),
    "resnet50_dcd": NetworkSpec("resnet50_dcd"),
}
FRONT = "front"


@dataclass(frozen=True)
class SweepConfig:
    """What to measure, and the folder ``out`` that keeps it; ``networks`` are names of NETWORKS, all where empty."""

    out: Path
    networks: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ("onnxruntime", "litert")
    threads: tuple[int, ...] = (1,)
    size: tuple[int, int] = (224, 224)
    bench: BenchConfig = field(default_factory=BenchConfig)


@dataclass(frozen=True)
class Step:
    """One thing to do; ``weight`` says how long it takes, relative to others."""

    title: str
    weight: float
    run: Callable[[Progress], None]


def run_sweep(config: SweepConfig, progress: Progress) -> BenchResult:
    """Export and measure what is not there yet, and write and return all results.

    Raises:
        UnknownNameError: there is no such network or runtime.
        OptionError: no runtime, or more threads than cores.
        BenchError: a trial could not be measured; its ``result`` has the others, and they are written too.
    """
    for kind, names, known in (("network", config.networks, NETWORKS), ("runtime", config.runtimes, RUNTIMES)):
        for name in names:
            if name not in known:
                raise UnknownNameError(kind, name, known)
    if not config.runtimes:
        raise OptionError(expected=f"`runtime` with some of {', '.join(RUNTIMES)}", found="none")
    for number in config.threads:
        check_cores(number, config.bench.cpus)
    work = _Sweep(config)
    steps = [*work.exports(), *work.measurements()]
    for stage, step in _with_time_left(steps, progress):
        step.run(stage)
    result = BenchResult({LOCAL: read_environment()}, config.bench.measure, tuple(work.trials()), tuple(work.failures))
    write_result(config.out / "sweep.json", result)
    if work.failures:
        raise BenchError(f"{len(work.failures)} trials could not be measured: {work.failures[0].reason}", result)
    return result


def _with_time_left(steps: list[Step], progress: Progress) -> Iterator[tuple[Progress, Step]]:
    """Yield each step with a progress that says how far we are and about how long the rest takes."""
    start, total, done = time.perf_counter(), sum(step.weight for step in steps), 0.0
    for number, step in enumerate(steps, 1):
        left = (time.perf_counter() - start) / done * (total - done) if done else None
        about = "" if left is None else f", about {max(1, round(left / 60))} min left"
        place = f"[{number}/{len(steps)}{about}] "

        def stage(text: str, place: str = place) -> AbstractContextManager[None]:
            return progress(place + text)

        yield stage, step
        done += step.weight


class _Sweep:
    """The steps that remain, and what they found."""

    def __init__(self, config: SweepConfig) -> None:
        self.config = config
        self.names = config.networks or tuple(NETWORKS)
        self.failures: list[Failure] = []
        self.environment = read_environment()

    def exports(self) -> Iterator[Step]:
        """Yield the exports that are not there yet."""
        for name in self.names:
            missing = [suffix for suffix in self._suffixes() if not self._is_exported(name, suffix)]
            if missing:
                yield Step(name, 25.0 * len(missing) + 10, self._exporter(name, missing))

    def measurements(self) -> Iterator[Step]:
        """Yield the trials that are not there yet, or not from this machine in this state."""
        made_anew = self._not_exported()
        for name, each in self._cases().items():
            old = any(entry.path in made_anew for entry in each.entries)
            if old or self._kept(name, each) is None:
                yield Step(each.title, 5.0 + 2.0 * len(each.entries), self._measurer(name, each))

    def trials(self) -> Iterator[Trial]:
        """Yield all trials that are there."""
        for name, each in self._cases().items():
            if (kept := self._kept(name, each)) is not None:
                yield from kept.trials

    def _exporter(self, name: str, suffixes: list[str]) -> Callable[[Progress], None]:
        def run(progress: Progress) -> None:
            spec, models = NETWORKS[name], self.config.out / "models"
            models.mkdir(parents=True, exist_ok=True)
            with progress(f"{name}: random weights"):
                network = calibrated_network(spec, self.config.size[0])
                path = save_checkpoint(models / f"{name}.pth.tar", network, spec.arch)
            formats = tuple(suffix.removeprefix(".") for suffix in suffixes)
            build = BuildConfig(Preprocessing.for_size(*self.config.size))
            export = ExportConfig(models, name, build, formats, with_baseline=True)
            export_checkpoint(read_checkpoint(path), spec, export, lambda stage: progress(f"{name}: {stage}"))

        return run

    def _measurer(self, name: str, each: Case) -> Callable[[Progress], None]:
        def run(progress: Progress) -> None:
            try:
                write_result(self._trial_path(name), bench([each], self.config.bench, progress))
            except DcdDeployError as error:  # the others go on
                self.failures.append(failure(LOCAL, each, error))

        return run

    def _cases(self) -> dict[str, Case]:
        """Return the trials by name: each network beside its twin, then all of them in turns, for the front."""
        found = {}
        for runtime in self.config.runtimes:
            suffix = RUNTIMES[runtime].suffix
            for threads in self.config.threads:
                for name in self.names:
                    model, static = self._model(name, suffix), self._static(name, suffix)
                    found[f"{name}-{runtime}-t{threads}"] = case(model, runtime, static, threads=threads)
                if len(self.names) > 1:
                    found[f"{FRONT}-{runtime}-t{threads}"] = self._front(runtime, suffix, threads)
        return found

    def _front(self, runtime: str, suffix: str, threads: int) -> Case:
        first, *rest = (path for name in self.names for path in (self._model(name, suffix), self._static(name, suffix)))
        others = [(path.name, path) for path in rest]
        return replace(case(first, runtime, None, others, threads=threads), compared=False)

    def _kept(self, name: str, each: Case) -> BenchResult | None:
        """Return what was measured before, if it was on this machine, with these settings and files."""
        path = self._trial_path(name)
        if not path.exists():
            return None
        try:
            found = read_result(path)
        except ResultFileError:
            return None
        now = BenchResult({LOCAL: self.environment}, self.config.bench.measure, ())
        if any(differences(found, now)) or found.config != now.config:
            return None
        return found if all(_is_of_files(trial, each) for trial in found.trials) else None

    def _suffixes(self) -> list[str]:
        return list(dict.fromkeys(RUNTIMES[runtime].suffix for runtime in self.config.runtimes))

    def _not_exported(self) -> set[Path]:
        """Return the models that are still to be made."""
        missing = [(name, s) for name in self.names for s in self._suffixes() if not self._is_exported(name, s)]
        return {path for name, s in missing for path in (self._model(name, s), self._static(name, s))}

    def _is_exported(self, name: str, suffix: str) -> bool:
        """Whether model and twin are there, for this input size: another's times would pass for this one's."""
        model, static = self._model(name, suffix), self._static(name, suffix)
        return model.exists() and static.exists() and _size_of(model) == self.config.size

    def _model(self, name: str, suffix: str) -> Path:
        return self.config.out / "models" / f"{name}{suffix}"

    def _static(self, name: str, suffix: str) -> Path:
        return self.config.out / "models" / f"{name}-static{suffix}"

    def _trial_path(self, name: str) -> Path:
        return self.config.out / "trials" / f"{name}.json"


def _size_of(model: Path) -> tuple[int, int] | None:
    """Return height and width of the input, as the file beside a model says; None where it does not."""
    try:
        said = json.loads(model.with_name(f"{model.name}.json").read_text(encoding="utf-8"))["preprocessing"]
        return said["height"], said["width"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_of_files(trial: Trial, each: Case) -> bool:
    """Whether a trial was measured on the files as they are now."""
    paths = [entry.path for entry in each.entries]
    if not all(path.exists() for path in paths):
        return False
    return [t.sha256 for t in trial.timings] == [_sha256(path, path.stat().st_mtime_ns) for path in paths]


@cache
def _sha256(path: Path, changed_ns: int) -> str:
    """Return a file's hash, computed once for each time that the file was ``changed_ns``."""
    del changed_ns
    return sha256(path)
