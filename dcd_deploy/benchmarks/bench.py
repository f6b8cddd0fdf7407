"""Models beside their baselines: plan the trials, let a worker measure each, compare."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dcd_deploy.benchmarks.environment import Environment, core_ids, read_environment
from dcd_deploy.benchmarks.measure import MeasureConfig
from dcd_deploy.benchmarks.process import TIME_LIMIT, ask
from dcd_deploy.benchmarks.results import AGAINST, MODEL, STATIC, BenchResult, Failure, Memory, Timing, Trial
from dcd_deploy.benchmarks.statistics import latency, ratio
from dcd_deploy.benchmarks.verdicts import verdicts
from dcd_deploy.benchmarks.worker import MEMORY, TIME, Answer, Request
from dcd_deploy.errors import BenchError, DcdDeployError, OptionError
from dcd_deploy.progress import Progress, silent

STATIC_TWIN = "static twin"


@dataclass(frozen=True)
class Contender:
    """A model file under the role and the name that reports give it."""

    role: str
    name: str
    path: Path


@dataclass(frozen=True)
class Contest:
    """What one trial measures in turns: the model first, then all that it is ``compared`` with or only shown beside."""

    contenders: tuple[Contender, ...]
    runtime: str
    threads: int = 1
    batch: int | None = None
    compared: bool = True

    @property
    def title(self) -> str:
        """What the trial is called while it runs, and where it fails."""
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return f"{self.contenders[0].name} on {self.runtime}, {threads}" + (f", batch {self.batch}" * bool(self.batch))


@dataclass(frozen=True)
class BenchConfig:
    """How the trials are run; ``cpus`` are the cores to keep to, ``time_limit`` is in seconds for each trial."""

    measure: MeasureConfig = field(default_factory=MeasureConfig)
    cpus: tuple[int, ...] | None = None
    time_limit: float = TIME_LIMIT
    memory: bool = True


def contest(
    model: Path,
    runtime: str,
    static: Path | None = None,
    against: Iterable[tuple[str, Path]] = (),
    *,
    threads: int = 1,
    batch: int | None = None,
) -> Contest:
    """Return the trial of ``model`` beside its static twin and others, each under a name of its own."""
    entries = [(MODEL, model.name, model)]
    entries += [] if static is None else [(STATIC, STATIC_TWIN, static)]
    entries += [(AGAINST, name, path) for name, path in against]
    names: list[str] = []
    for _, name, _ in entries:
        same = sum(other == name or other.startswith(f"{name} (") for other in names)
        names.append(f"{name} ({same + 1})" if same else name)
    contenders = (Contender(role, name, path) for name, (role, _, path) in zip(names, entries, strict=True))
    return Contest(tuple(contenders), runtime, threads, batch)


def bench(
    contests: Sequence[Contest],
    config: BenchConfig | None = None,
    progress: Progress = silent,
    not_made: Iterable[Failure] = (),
) -> BenchResult:
    """Measure all trials, one after the other; ``not_made`` are failures from before, which go into the result.

    Raises:
        OptionError: more threads than cores, or a core that is not there.
        BenchError: a trial could not be measured; the error carries the result with all others. Where there is no
            other, the trial's own error is raised.
    """
    config = config or BenchConfig()
    for each in contests:
        check_cores(each.threads, config.cpus)
    environment, trials, failures, first = read_environment(), [], [], None
    for number, each in enumerate(contests, 1):
        place = f"{number} of {len(contests)}: " if len(contests) > 1 else ""
        try:
            trials.append(measure_trial(each, config, environment, _prefixed(progress, f"{place}{each.title}")))
        except DcdDeployError as error:
            first = first or error
            failures.append(Failure(each.contenders[0].name, each.runtime, each.threads, each.batch, str(error)))
    if first is not None and not trials:
        raise first
    result = BenchResult(environment, config.measure, tuple(trials), (*not_made, *failures))
    if failures:
        lost = f"{len(failures)} of {len(contests)} trials could not be measured"
        raise BenchError(f"{lost}: {first}; the others are kept", result)
    return result


def measure_trial(each: Contest, config: BenchConfig, environment: Environment, progress: Progress) -> Trial:
    """Measure one trial: the times of all models in one process, then the memory of each in its own."""
    models = {contender.name: str(contender.path) for contender in each.contenders}
    request = Request(TIME, models, each.runtime, each.threads, each.batch, config.cpus, config.measure)
    with progress("measure in turns"):
        answer = ask(request, config.time_limit)
    memory: dict[str, Memory | None] = dict.fromkeys(models)
    if config.memory:
        with progress("measure memory"):
            memory = {name: _memory(replace(request, models={name: path}), config) for name, path in models.items()}
    timings = tuple(_timing(contender, answer, memory[contender.name]) for contender in each.contenders)
    others = timings[1:] if each.compared else ()
    ratios = {other.name: ratio(timings[0].samples, other.samples) for other in others}
    remarks = verdicts(timings, ratios, answer.machine, environment)
    runtime = (each.runtime, answer.version, each.threads, answer.batch, config.cpus)
    return Trial(*runtime, timings, ratios, answer.machine, remarks)


def check_cores(threads: int, cpus: tuple[int, ...] | None) -> None:
    """Raise OptionError unless there is a core for each thread: more would wait for each other."""
    cores = core_ids()
    missing = sorted(set(cpus or ()) - set(cores))
    if missing:
        raise OptionError(f"expected --cpus among {_listed(cores)}, the cores that there are, found {_listed(missing)}")
    many = len(set(cpus)) if cpus else len(cores)
    if not isinstance(threads, int) or not 1 <= threads <= many:
        raise OptionError(f"expected at least one thread and at most one for each of the {many} cores, found {threads}")


def _memory(request: Request, config: BenchConfig) -> Memory | None:
    answer = ask(replace(request, task=MEMORY), config.time_limit)
    if math.isnan(answer.peak_mb):
        return None
    return Memory(answer.peak_mb, answer.peak_mb - answer.idle_mb)


def _timing(contender: Contender, answer: Answer, memory: Memory | None) -> Timing:
    name, samples = contender.name, answer.samples[contender.name]
    facts = (contender.role, name, str(contender.path), answer.hashes[name], answer.networks[name])
    return Timing(*facts, samples, latency(samples), memory)


def _prefixed(progress: Progress, title: str) -> Progress:
    return lambda stage: progress(f"{title}: {stage}")


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
