"""A trial in a runtime that is not ours: the same loop, in a process of the environment that has the runtime.

A file that is wrong there is not timed: it is held against the samples that it carries first.
"""

from __future__ import annotations

from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path

import numpy as np

from dcd_deploy.artifacts import UINT8, ModelCard
from dcd_deploy.benchmarks import measure
from dcd_deploy.benchmarks.machine import watched
from dcd_deploy.benchmarks.measure import as_samples
from dcd_deploy.benchmarks.right_here import wrong_here
from dcd_deploy.benchmarks.worker import MEMORY, Request, WorkerAnswer, fixed_shape, network_name
from dcd_deploy.errors import BenchError, MissingDependencyError, OptionError
from dcd_deploy.files import sha256
from dcd_deploy.runtimes.environments import KNOWN, installable, python_of
from dcd_deploy.runtimes.isolated import isolated_model
from dcd_deploy.runtimes.litert import as_torch, laid_out
from dcd_deploy.runtimes.others.process import Answer, Loop, ModelAnswer, Names, ask
from dcd_deploy.runtimes.selfcheck import carried_inputs, relative_error
from dcd_deploy.runtimes.session import Input, Session

LOOP_FILE = Path(measure.__file__)


def other_runtimes(suffix: str) -> tuple[str, ...]:
    """Return the runtimes that are not ours and can be timed on files of a kind."""
    return tuple(name for name, known in KNOWN.items() if known.timed and suffix in known.suffixes)


def python_with(name: str) -> Path:
    """Return the Python that has a runtime.

    Raises:
        MissingDependencyError: it is not installed; the error says how it is.
    """
    python = python_of(name)
    if python is None:
        way = f"'dcd-deploy runtimes' installs it, with {way_to_install(name)}"
        raise MissingDependencyError(expected=f"{name} on this machine", but="it is not installed", advice=way)
    return python


def way_to_install(name: str) -> str:
    """Return what to type to have a runtime."""
    return f"`setup` {name}" if name in installable() else f"pip install {KNOWN[name].package.replace('_', '-')}"


def ask_other(request: Request, time_limit: float) -> WorkerAnswer:
    """Measure what is asked for.

    Raises:
        OptionError: the batch is not 1.
        ModelFileError: a file is damaged, or carries no samples.
        BenchError: the runtime refuses it, crashes, hangs, or computes something else.
    """
    paths = {name: Path(path) for name, path in request.models.items()}
    described = {name: described_of(path) for name, path in paths.items()}
    cards = {name: card for name, (card, _) in described.items()}
    card = next(iter(cards.values()))
    _check_batch(request, card)
    if lack := lack_of(request.runtime, card):
        raise BenchError(f"{request.runtime}: {lack}")
    memory = request.task == MEMORY
    with watched() as machine:
        answer = ask(
            KNOWN[request.runtime].module,
            tuple(paths.values()),
            inputs_of(card),
            [spec.name for spec in card.outputs],
            named={path: described[name][1] for name, path in paths.items()},
            python=python_with(request.runtime),
            threads=request.threads,
            loop=None if memory else Loop(LOOP_FILE, asdict(request.config)),
            cpus=request.cpus,
            timeout_s=time_limit,
        )
    _check(request, answer, card)
    samples = {name: as_samples(one.samples) for name, one in zip(paths, answer.models, strict=True) if one.samples}
    return WorkerAnswer(
        request.runtime,
        answer.version or "",
        1,
        {name: network_name(one) for name, one in cards.items()},
        {name: sha256(path) for name, path in paths.items()},
        samples,
        machine[0],
        request.cpus,
        answer.idle_mb,
        answer.peak_mb,
    )


def described_of(path: Path) -> tuple[ModelCard, Names]:
    """Return how a file describes itself, and what it calls its tensors, which another tool may have renamed.

    Raises:
        ModelFileError: it has no description, or is damaged.
    """
    with isolated_model(path, threads=1) as model:
        return model.described(), _names_in(model.session)


def names_of(path: Path) -> Names:
    """Return what a file calls its tensors.

    Raises:
        ModelFileError: it is damaged.
    """
    with isolated_model(path, threads=1) as model:
        return _names_in(model.session)


def _names_in(session: Session) -> Names:
    return Names(*(tuple(tensor.name for tensor in side) for side in (session.inputs, session.outputs)))


def lack_of(name: str, card: ModelCard) -> str:
    """Return what a runtime lacks that a file asks for, if anything."""
    if KNOWN[name].bytes or card.input_type != UINT8:
        return ""
    return "it takes no pictures as raw bytes; export another file, without `input_` uint8"


def _check_batch(request: Request, card: ModelCard) -> None:
    if request.batch not in (None, 1):  # also of a file that leaves it free
        raise OptionError(
            expected=f"`batch` 1 with `runtime` {request.runtime}",
            found=request.batch,
            advice="the samples that a file carries are run there one by one",
        )
    for entry in card.inputs:
        fixed_shape(entry.torch_shape, 1)


def inputs_of(card: ModelCard) -> dict[str, Input]:
    """Return the samples that a file carries, (samples, …) for each of its inputs, laid out as it takes them."""
    samples = carried_inputs(card)
    return {
        spec.name: np.ascontiguousarray(laid_out(each, spec)) for spec, each in zip(card.inputs, samples, strict=True)
    }


def error_of(own: ModelAnswer, card: ModelCard) -> float:
    """Return the largest error over the carried samples, relative to the range of the reference outputs.

    Raises:
        BenchError: the runtime gave an output of another shape than the file has.
    """
    assert card.reference is not None  # the samples are those that it carries
    for values, spec in zip(own.outputs, card.outputs, strict=True):
        found = (len(values) // card.reference.samples, *values.shape[1:])
        wanted = tuple(size or has for size, has in zip_longest(spec.shape, found, fillvalue=1))
        if found != wanted[: len(spec.shape)]:
            raise BenchError(f"expected output '{spec.name}' of shape {wanted[: len(spec.shape)]}, found {found}")
    outputs = [as_torch(values, spec) for values, spec in zip(own.outputs, card.outputs, strict=True)]
    with np.errstate(all="ignore"):  # numbers that lead nowhere show in the error
        return relative_error(card, [tuple(values[i : i + 1] for values in outputs) for i in range(len(outputs[0]))])


def way_out(name: str, path: Path, card: ModelCard, another: str) -> str:
    """Return what to do where a runtime is wrong on a file, or refuses it: ``another`` file, where one would help."""
    if not another:
        return ""
    if (here := wrong_here(path)) is not None:
        return f"it is wrong in {here[0]} too: export or fetch it again"
    return "" if card.runtime == name else another


def refused(name: str, answer: Answer, path: Path, card: ModelCard) -> str:
    """Return what is said of a file that a runtime did not run."""
    advice = way_out(name, path, card, KNOWN[name].advice if card.lowering else "")  # it is about computed kernels
    return f"{answer.failure}; {advice}" if advice else str(answer.failure)


def _check(request: Request, answer: Answer, card: ModelCard) -> None:
    runtime = request.runtime
    name, path = next((name, Path(path)) for name, path in request.models.items())
    if answer.failure is not None:
        raise BenchError(f"{runtime}: {refused(runtime, answer, path, card)}")
    try:
        error = error_of(answer.models[0], card)
    except BenchError as shape:
        raise BenchError(f"{runtime}: {shape}") from None
    if not error <= card.limit:  # not a number is wrong
        another = f"export it with `for_` {runtime}, or leave that runtime out"
        raise BenchError(
            expected=f"'{name}' to compute in {runtime} what was trained, within {card.limit:.1e} of the range",
            found=f"an error of {error:.1e}",
            advice=way_out(runtime, path, card, another) or "leave that runtime out: the file is for it already",
        )
