"""What a model makes an ARM core do in one run, beside its static twin: counted under emulation, exactly repeatable.

A model is opened by the real aarch64 runtime, run once to warm the modelled cache, and then counted run by run. Each
count is the median over the runs, of which two differ by the few thousand instructions of Python and an allocator.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.benchmarks.bench import Contender, Contest, contest
from dcd_deploy.benchmarks.results import Failure
from dcd_deploy.benchmarks.worker import input_shape
from dcd_deploy.devices.emulated.cores import CORES, DEFAULT_CORE, Core, core_named
from dcd_deploy.devices.emulated.guest import TIME_LIMIT, opened_guest
from dcd_deploy.devices.emulated.plugin import LINE_BYTES, RUN, Counts, arguments, read_counts
from dcd_deploy.devices.emulated.programs import qemu_version
from dcd_deploy.devices.emulated.root import installed_root
from dcd_deploy.devices.names import EMULATED
from dcd_deploy.errors import BenchError, DcdDeployError, DeviceAnswerError
from dcd_deploy.files import sha256
from dcd_deploy.progress import Progress, silent
from dcd_deploy.runtimes.litert import laid_out
from dcd_deploy.runtimes.model import open_model, runtimes_for

KIND, SCHEMA = "dcd-deploy counts", 1
RUNS = 3


@dataclass(frozen=True)
class CountedModel:
    """One model of a trial; ``spread`` is how far the instructions of its runs differ, relative to the median."""

    role: str
    name: str
    path: str
    sha256: str
    counts: Counts
    spread: float


@dataclass(frozen=True)
class CountTrial:
    """One model, ``models[0]``, and what it is compared with, on one core."""

    core: str
    runtime: str
    runtime_version: str
    batch: int
    models: tuple[CountedModel, ...]

    def ratio(self, other: CountedModel, name: str) -> float | None:
        """Return the model's count ``name`` (of ``Counts``) over another's; None where that is 0."""
        above, below = (getattr(each.counts, name) for each in (self.models[0], other))
        return above / below if below else None


@dataclass(frozen=True)
class CountResult:
    """All trials, and what the counts rest on."""

    qemu: str
    runs: int
    assumptions: tuple[str, ...]
    trials: tuple[CountTrial, ...]
    failures: tuple[Failure, ...] = ()
    kind: str = field(default=KIND)
    schema: int = SCHEMA


def assumptions(cores: Iterable[Core]) -> tuple[str, ...]:
    """Return what a reader of the counts has to know."""
    caches = [
        f"{core.name} has {core.l1.kib} KiB of L1 data cache in {core.l1.ways} ways and {core.l2.kib} KiB of L2 in "
        f"{core.l2.ways} ways, as in {core.product}"
        for core in cores
    ]
    modelled = (
        f"lines of {LINE_BYTES} bytes, the least recently used goes, write-back, no prefetch, no instructions in it, "
        "virtual addresses, nobody else on the machine"
    )
    return (
        "counted, not timed: one thread, a run after one that warmed the cache; emulated time says nothing of a core",
        "instructions, FMLA, DOT and MMLA are those that the core would retire; bytes are what loads and stores name",
        f"misses are of a model: {'; '.join(caches)}; {modelled}",
        f"traffic is {LINE_BYTES} bytes for each line that enters or leaves L2 outwards: to DRAM, or to an L3 if any",
    )


def count_models(
    model: Path,
    others: Sequence[tuple[str, Path]] = (),
    core: str = DEFAULT_CORE,
    *,
    runtime: str | None = None,
    batch: int | None = None,
    runs: int = RUNS,
    progress: Progress = silent,
) -> CountTrial:
    """Count one model file beside ``others``, each with the name that reports give it.

    Raises:
        UnknownNameError: there is no such core.
        DeviceLackError: emulation is not set up here, or this version of QEMU cannot count.
    """
    each = contest(model, runtime or runtimes_for(model)[0], None, others, batch=batch)
    return count_trial(each, core_named(core), runs, progress)


def count_contests(
    contests: Sequence[Contest],
    cores: Sequence[Core],
    runs: int = RUNS,
    progress: Progress = silent,
    not_made: Iterable[Failure] = (),
    time_limit: float = TIME_LIMIT,
) -> CountResult:
    """Count all trials on all cores, and give up on a model when its runs take longer than ``time_limit`` s each.

    Raises:
        BenchError: a trial could not be counted; it carries the result with the others. Where there is no other, the
            trial's own error is raised.
    """
    trials: list[CountTrial] = []
    failures: list[Failure] = []
    first = None
    for core in cores:
        for each in contests:
            try:
                trials.append(count_trial(each, core, runs, progress, time_limit))
            except DcdDeployError as error:
                first = first or error
                device, name = f"{EMULATED}:{core.name}", each.contenders[0].name
                failures.append(Failure(device, name, each.runtime, each.threads, each.batch, str(error)))
    if first is not None and not trials:
        raise first
    stated = assumptions(core for core in CORES.values() if core in cores)
    result = CountResult(qemu_version(), runs, stated, tuple(trials), (*not_made, *failures))
    if failures:
        raise BenchError(f"{len(failures)} trials could not be counted: {first}; the others are kept", result)
    return result


def count_trial(each: Contest, core: Core, runs: int, progress: Progress, time_limit: float = TIME_LIMIT) -> CountTrial:
    """Count the models of one trial, one after the other."""
    counted, version, batch = [], "", 1
    for contender in each.contenders:
        images = random_input(contender.path, each.runtime, each.batch)
        batch = images.shape[0]
        with progress(f"{contender.name}: count {each.runtime} on {core.name}"):
            found, version = count_runs(contender.path, each.runtime, core, images, runs, time_limit)
        counted.append(_counted(contender, found))
    return CountTrial(core.name, each.runtime, version, batch, tuple(counted))


def count_runs(
    path: Path, runtime: str, core: Core, images: NDArray[np.float32], runs: int, time_limit: float = TIME_LIMIT
) -> tuple[list[Counts], str]:
    """Return the counts of each run of a model on an input as its file has it, and the runtime's version."""
    with tempfile.TemporaryDirectory(prefix="dcd-deploy-") as folder:
        out = Path(folder) / "counts.txt"
        limit = time_limit * (runs + 1)  # the first warms the cache
        with opened_guest(installed_root(), core, runtime, path, arguments(core, out), limit) as guest:
            guest.count(images, runs)
            version = guest.version
        lines = read_counts(out.read_text(encoding="ascii", errors="replace"))
    found = [counts for kind, counts in lines if kind == RUN][1:]  # the first one warmed the cache
    if len(found) != runs:
        raise DeviceAnswerError(f"expected counts of {runs} runs, found {len(found)}")
    return found, version


def random_input(path: Path, runtime: str, batch: int | None = None) -> NDArray[np.float32]:
    """Return an input of a model, as its file has it."""
    model = open_model(path, threads=1, runtime=runtime)
    images = np.random.default_rng(0).standard_normal(input_shape(model, batch), np.float32)
    return np.ascontiguousarray(laid_out(images, model.session.inputs[0].shape))


def _counted(contender: Contender, found: list[Counts]) -> CountedModel:
    median = Counts(*(sorted(values)[len(values) // 2] for values in zip(*map(astuple, found), strict=True)))
    instructions = [counts.instructions for counts in found]
    spread = (max(instructions) - min(instructions)) / max(1, median.instructions)
    facts = (contender.role, contender.name, str(contender.path), sha256(contender.path))
    return CountedModel(*facts, median, spread)
