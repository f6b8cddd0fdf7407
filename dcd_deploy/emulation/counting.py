"""What a model makes an ARM core do in one run, beside its static twin: counted under emulation, exactly repeatable.

A model is opened by the real aarch64 runtime, run once to warm the modelled cache, and then counted run by run. Each
count is the median over the runs, of which two differ by the few thousand instructions of Python and an allocator.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from pathlib import Path

import numpy as np

from dcd_deploy.benchmarks.bench import Case, Entry, case
from dcd_deploy.benchmarks.counts import LINE_BYTES, CountedModel, Counts, CountTrial, count_ratios
from dcd_deploy.benchmarks.worker import network_name, random_inputs
from dcd_deploy.emulation.cores import DEFAULT_CORE, EMULATED, Core, core_named
from dcd_deploy.emulation.guest import TIME_LIMIT, opened_guest
from dcd_deploy.emulation.plugin import RUN, arguments, read_counts
from dcd_deploy.emulation.root import installed_root
from dcd_deploy.errors import DeviceAnswerError
from dcd_deploy.files import sha256
from dcd_deploy.progress import Progress, silent
from dcd_deploy.runtimes.choice import usual_runtime
from dcd_deploy.runtimes.isolated import isolated_model
from dcd_deploy.runtimes.litert import laid_out
from dcd_deploy.runtimes.model import Model
from dcd_deploy.runtimes.session import Input

RUNS = 3


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
    runs: int = RUNS,
    progress: Progress = silent,
) -> CountTrial:
    """Count one model file beside ``others``, each with the name that reports give it.

    Raises:
        UnknownNameError: there is no such core.
        DeviceLackError: emulation is not set up here, or this version of QEMU cannot count.
    """
    each = case(model, usual_runtime(model), None, others)
    return count_trial(each, core_named(core), runs, progress)


def count_trial(
    each: Case, core: Core, runs: int, progress: Progress, time_limit: float = TIME_LIMIT, device: str | None = None
) -> CountTrial:
    """Count the models of one trial, one after the other; a model is given up after ``time_limit`` s for each run.

    Raises:
        DeviceError: emulation is not set up here, or was lost. ModelFileError: the runtime refuses a file.
        OptionError: the file's batch is another.
    """
    counted, version, batch = [], "", 1
    for entry in each.entries:
        with isolated_model(entry.path, threads=1, runtime=each.runtime) as model:
            inputs = inputs_of(model, each.batch)
        batch = len(inputs[0])
        with progress(f"{entry.name}: count {each.runtime} on {core.name}"):
            found, version = count_runs(entry.path, each.runtime, core, inputs, runs, time_limit)
        counted.append(_counted(entry, network_name(model.card), found))
    others = counted[1:] if each.compared else ()
    ratios = {other.name: count_ratios(counted[0].counts, other.counts) for other in others}
    return CountTrial(device or device_of(core), core.name, each.runtime, version, batch, tuple(counted), ratios)


def device_of(core: Core) -> str:
    """Return what results call a core that has no name of its own."""
    return f"{EMULATED}:{core.name}"


def count_runs(
    path: Path, runtime: str, core: Core, inputs: Sequence[Input], runs: int, time_limit: float = TIME_LIMIT
) -> tuple[list[Counts], str]:
    """Return the counts of each run of a model on inputs as its file has them, and the runtime's version."""
    with tempfile.TemporaryDirectory(prefix="dcd-deploy-") as folder:
        out = Path(folder) / "counts.txt"
        limit = time_limit * (runs + 1)  # the first warms the cache
        with opened_guest(installed_root(), core, runtime, path, arguments(core, out), limit) as guest:
            guest.count(inputs, runs)
            version = guest.version
        lines = read_counts(out.read_text(encoding="ascii", errors="replace"))
    found = [counts for kind, counts in lines if kind == RUN][1:]  # the first one warmed the cache
    if len(found) != runs:
        raise DeviceAnswerError(expected=f"counts of {runs} runs", found=len(found))
    return found, version


def inputs_of(model: Model, batch: int | None = None) -> tuple[Input, ...]:
    """Return random values for every input of a model, as its file has them."""
    given = zip(random_inputs(model, batch), model.session.inputs, strict=True)
    return tuple(np.ascontiguousarray(laid_out(values, entry)) for values, entry in given)


def _counted(entry: Entry, network: str | None, found: list[Counts]) -> CountedModel:
    median = Counts(*(sorted(values)[len(values) // 2] for values in zip(*map(astuple, found), strict=True)))
    instructions = [counts.instructions for counts in found]
    spread = (max(instructions) - min(instructions)) / max(1, median.instructions)
    facts = (entry.role, entry.name, str(entry.path), sha256(entry.path), network)
    return CountedModel(*facts, median, median.traffic_bytes, spread)
