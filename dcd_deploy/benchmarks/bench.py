"""Models beside their baselines: plan the trials, let a worker measure each, compare."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dcd_deploy.benchmarks.environment import Environment
from dcd_deploy.benchmarks.measure import MeasureConfig
from dcd_deploy.benchmarks.process import TIME_LIMIT, Here, Host
from dcd_deploy.benchmarks.results import AGAINST, MODEL, STATIC, BenchResult, Failure, Memory, Timing, Trial, Verdict
from dcd_deploy.benchmarks.statistics import latency, ratio
from dcd_deploy.benchmarks.verdicts import verdicts
from dcd_deploy.benchmarks.worker import MEMORY, NO_AFFINITY, TIME, Request, WorkerAnswer
from dcd_deploy.errors import BenchError, DcdDeployError, DeviceError, OptionError
from dcd_deploy.progress import Progress, silent

STATIC_TWIN = "static twin"


@dataclass(frozen=True)
class Entry:
    """A model file under the role and the name that reports give it."""

    role: str
    name: str
    path: Path


@dataclass(frozen=True)
class Case:
    """What one trial measures in turns: the model first, then all that it is ``compared`` with or only shown beside.

    ``remarks`` say what is known against its files.
    """

    entries: tuple[Entry, ...]
    runtime: str
    threads: int = 1
    batch: int | None = None
    compared: bool = True
    remarks: tuple[Verdict, ...] = ()

    @property
    def title(self) -> str:
        """What the trial is called while it runs, and where it fails."""
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return f"{self.entries[0].name} on {self.runtime}, {threads}" + (f", batch {self.batch}" * bool(self.batch))


@dataclass(frozen=True)
class BenchConfig:
    """How the trials are run; ``cpus`` are the cores to keep to, ``time_limit`` is in seconds for each trial."""

    measure: MeasureConfig = field(default_factory=MeasureConfig)
    cpus: tuple[int, ...] | None = None
    time_limit: float = TIME_LIMIT
    memory: bool = True


def case(
    model: Path,
    runtime: str,
    static: Path | None = None,
    against: Iterable[tuple[str, Path]] = (),
    *,
    threads: int = 1,
    batch: int | None = None,
) -> Case:
    """Return the trial of ``model`` beside its static twin and others, each under a name of its own."""
    named = [(MODEL, model.name, model)]
    named += [] if static is None else [(STATIC, STATIC_TWIN, static)]
    named += [(AGAINST, name, path) for name, path in against]
    names: list[str] = []
    for _, name, _ in named:
        same = sum(other == name or other.startswith(f"{name} (") for other in names)
        names.append(f"{name} ({same + 1})" if same else name)
    entries = (Entry(role, name, path) for name, (role, _, path) in zip(names, named, strict=True))
    return Case(tuple(entries), runtime, threads, batch)


def bench(
    cases: Sequence[Case],
    config: BenchConfig | None = None,
    progress: Progress = silent,
    not_made: Iterable[Failure] = (),
    place: Host | None = None,
) -> BenchResult:
    """Measure all trials, one after the other, in one place (this machine, if none is given).

    ``not_made`` are failures from before, which go into the result.

    Raises:
        OptionError: more threads than cores, or a core that is not there.
        BenchError: a trial could not be measured; the error carries the result with all others. Where there is no
            other, the trial's own error is raised.
        DeviceError: the same, where it was the device that failed.
    """
    config, place = config or BenchConfig(), place or Here()
    for each in cases:
        check_cores(each.threads, config.cpus, place.cores())
    environment, trials, failures, first = place.environment(), [], [], None
    for number, each in enumerate(cases, 1):
        title = f"{number} of {len(cases)}: {each.title}" if len(cases) > 1 else each.title
        try:
            trials.append(measure_trial(each, config, place, environment, _prefixed(progress, title)))
        except DcdDeployError as error:
            first = first or error
            failures.append(failure(place.name, each, error))
    if first is not None and not trials:
        raise first
    result = BenchResult({place.name: environment}, config.measure, tuple(trials), (*not_made, *failures))
    if first is not None:
        raise unfinished(first, len(failures), len(cases), result)
    return result


def failure(device: str, each: Case, error: DcdDeployError) -> Failure:
    """Return what a result says of a trial that could not be measured."""
    return Failure(device, each.entries[0].name, each.runtime, each.threads, each.batch, str(error))


def unfinished(first: DcdDeployError, failed: int, of: int, result: BenchResult) -> DcdDeployError:
    """Return the error of a run in which some trials failed, with the code of the first where that was a device's."""
    message = f"{failed} of {of} trials could not be measured: {first}; the others are kept"
    return type(first)(message, result) if isinstance(first, DeviceError) else BenchError(message, result)


def measure_trial(each: Case, config: BenchConfig, place: Host, environment: Environment, progress: Progress) -> Trial:
    """Measure one trial: the times of all models in one process, then the memory of each in its own."""
    place.prepare([entry.path for entry in each.entries], each.runtime, progress)
    models = {entry.name: str(entry.path) for entry in each.entries}
    request = Request(TIME, models, each.runtime, each.threads, each.batch, config.cpus, config.measure)
    with progress("measure in turns"):
        answer = place.ask(request, config.time_limit)
    memory: dict[str, Memory | None] = dict.fromkeys(models)
    if config.memory:
        with progress("measure memory"):
            memory = {name: _memory(place, replace(request, models={name: models[name]}), config) for name in models}
    timings = tuple(_timing(entry, answer, memory[entry.name]) for entry in each.entries)
    others = timings[1:] if each.compared else ()
    ratios = {other.name: ratio(timings[0].samples, other.samples) for other in others}
    remarks = each.remarks + verdicts(timings, ratios, answer.machine, environment)
    setting = (place.name, each.runtime, answer.version, each.threads, answer.batch, answer.cpus)
    return Trial(*setting, timings, ratios, answer.machine, remarks)


def check_cores(threads: int, cpus: tuple[int, ...] | None, cores: Sequence[int] | None = None) -> None:
    """Raise OptionError unless there is a core (of this machine's, or ``cores``) for each thread.

    More threads than cores would wait for each other.
    """
    if cpus and cores is None and not hasattr(os, "sched_setaffinity"):
        raise OptionError(NO_AFFINITY)
    cores = Here().cores() if cores is None else cores
    missing = sorted(set(cpus or ()) - set(cores))
    if missing:
        raise OptionError(expected=f"`cpus` among {_listed(cores)}, the cores that there are", found=_listed(missing))
    many = len(set(cpus)) if cpus else len(cores)
    if not isinstance(threads, int) or not 1 <= threads <= many:
        raise OptionError(expected=f"at least one thread and at most one for each of the {many} cores", found=threads)


def _memory(place: Host, request: Request, config: BenchConfig) -> Memory | None:
    """Return the memory of one model; nothing where it cannot be had, which is no reason to lose the times."""
    try:
        answer = place.ask(replace(request, task=MEMORY), config.time_limit)
    except BenchError:
        return None
    if answer.peak_mb is None or answer.idle_mb is None:
        return None
    return Memory(answer.peak_mb, answer.peak_mb - answer.idle_mb)


def _timing(entry: Entry, answer: WorkerAnswer, memory: Memory | None) -> Timing:
    name, samples = entry.name, answer.samples[entry.name]
    facts = (entry.role, name, str(entry.path), answer.hashes[name], answer.networks[name])
    return Timing(*facts, samples, latency(samples), memory)


def _prefixed(progress: Progress, title: str) -> Progress:
    return lambda stage: progress(f"{title}: {stage}")


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
