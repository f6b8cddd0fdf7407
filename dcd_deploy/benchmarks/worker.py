"""The process that measures: one request on standard input, one answer on standard output, both JSON.

    python -m dcd_deploy.benchmarks.worker < request.json

Runtimes can clash in one process, crash it, or hang; so each trial has one of its own. What a runtime itself prints
goes to standard error.

On a device ``devices.runner`` calls this; so this module and all that it imports run on Python 3.9.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dcd_deploy.artifacts import ModelCard, TensorSpec
from dcd_deploy.benchmarks.machine import Machine, read_text, watched
from dcd_deploy.benchmarks.measure import MeasureConfig, Run, Samples, measure_in_turns
from dcd_deploy.errors import DcdDeployError, ModelFileError, OptionError
from dcd_deploy.files import sha256
from dcd_deploy.native_output import discard_native_output
from dcd_deploy.network_names import names_of, with_settings
from dcd_deploy.runtimes.choice import load_runtime
from dcd_deploy.runtimes.model import Model, open_model
from dcd_deploy.runtimes.session import Input

TIME, MEMORY = "time", "memory"
FLOATS, BYTES, WHOLE = ("float32", "float16", "float64"), ("uint8", "int8"), ("int32", "int64", "bool")
MEMORY_RUNS = 3
NO_AFFINITY = "expected no `cpus` on this system, which has no way to keep a process to cores; leave it out"


@dataclass(frozen=True)
class Request:
    """What to measure: ``models`` is name → path, all for one runtime; ``batch`` is for files that leave it free.

    Of the task MEMORY only the first model counts.
    """

    task: str
    models: dict[str, str]
    runtime: str
    threads: int
    batch: int | None
    cpus: tuple[int, ...] | None
    config: MeasureConfig


@dataclass(frozen=True)
class WorkerAnswer:
    """What was measured: samples by the models' names, and what the machine did; or megabytes.

    ``cpus`` are the cores that were kept to, or None for any.
    """

    runtime: str
    version: str
    batch: int
    networks: dict[str, str | None]
    hashes: dict[str, str]
    samples: dict[str, Samples]
    machine: Machine
    cpus: tuple[int, ...] | None = None
    idle_mb: float | None = None
    peak_mb: float | None = None


def main() -> None:
    """Answer the request on standard input."""
    atexit.register(discard_native_output)  # libraries speak of being unloaded, which would hide its last words
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with answers:
        json.dump(respond(json.load(sys.stdin)), answers)


def respond(content: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to a request, or the error that it ended in, both as they go over the line."""
    # onnxruntime would send reports of its use, from threads of its own in the middle of what is measured, and leave
    # files for them in the user's home folder.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        return {"answer": asdict(work(_request(content)))}
    except DcdDeployError as error:
        return {"error": {"kind": type(error).__name__, "message": str(error)}}


def work(request: Request) -> WorkerAnswer:
    """Measure what is asked for.

    Raises:
        OptionError: the file's batch is another, or the models take different inputs.
        InputFileError, ModelFileError: a file cannot be opened or run.
    """
    if request.cpus is not None:
        if not hasattr(os, "sched_setaffinity"):
            raise OptionError(NO_AFFINITY)
        os.sched_setaffinity(0, request.cpus)  # before the runtime starts its threads
    if request.task == MEMORY:
        return _memory(request)
    opened = {name: _open(request, name) for name in request.models}
    shapes = {name: input_shape(model, request.batch) for name, model in opened.items()}
    if len(set(shapes.values())) != 1:
        raise OptionError(
            expected="models with the same input", found=shapes, advice="export both at one size and batch"
        )
    first = next(iter(opened.values()))
    batch, version = next(iter(shapes.values()))[0], first.session.version
    networks = {name: network_name(model.card) for name, model in opened.items()}
    hashes = {name: sha256(Path(path)) for name, path in request.models.items()}
    del opened, first  # each round opens them anew
    with watched() as machine:
        samples = measure_in_turns({name: partial(_ready, request, name) for name in request.models}, request.config)
    return WorkerAnswer(request.runtime, version, batch, networks, hashes, samples, machine[0], request.cpus)


def _memory(request: Request) -> WorkerAnswer:
    """Open one model, run it, and return the peaks of this process before and after."""
    name = next(iter(request.models))
    load_runtime(request.runtime)
    idle = peak_mb()
    model = _open(request, name)
    run = _prepared(model, request.batch)
    for _ in range(MEMORY_RUNS):
        run()
    version, batch = model.session.version, input_shape(model, request.batch)[0]
    return WorkerAnswer(request.runtime, version, batch, {}, {}, {}, Machine(), request.cpus, idle, peak_mb())


def peak_mb() -> float | None:
    """Return the peak resident memory of this process, in megabytes of 10⁶ bytes, or None where nothing tells."""
    for line in read_text("/proc/self/status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return None


def input_shape(model: Model, batch: int | None) -> tuple[int, ...]:
    """Return the shape of a model's first input, such as (N, C, H, W), whichever layout its file has.

    N is ``batch`` where it is free.

    Raises:
        OptionError: ``batch`` is not the file's own, or the file leaves its input size free.
    """
    return fixed_shape(model.session.inputs[0].torch_shape, batch)


def fixed_shape(shape: tuple[int | None, ...], batch: int | None) -> tuple[int, ...]:
    """Return a shape, as torch has it, with the batch filled in where the file leaves it free."""
    if None in shape[1:]:
        raise OptionError(
            expected="a model whose input size is fixed", found=shape, advice="export it with `input_size`"
        )
    if batch is not None and shape[0] not in (None, batch):
        raise OptionError(
            expected=f"`batch` {shape[0]}, which is fixed in the file",
            found=batch,
            advice=f"export it with `batch` {batch}",
        )
    return tuple(batch or 1 if size is None else size for size in shape)


def _open(request: Request, name: str) -> Model:
    return open_model(Path(request.models[name]), threads=request.threads, runtime=request.runtime)


def _ready(request: Request, name: str) -> Run:
    return _prepared(_open(request, name), request.batch)


def _prepared(model: Model, batch: int | None) -> Callable[[], object]:
    return model.session.prepare(*random_inputs(model, batch))


def random_inputs(model: Model, batch: int | None = None) -> tuple[Input, ...]:
    """Return values for every input of a model, as torch has them; N is ``batch`` where the file leaves it free.

    Raises:
        OptionError: ``batch`` is not the file's own, or the file leaves the size of an input free.
        ModelFileError: an input is of no numbers.
    """
    generator = np.random.default_rng(0)
    return tuple(_random(entry, fixed_shape(entry.torch_shape, batch), generator) for entry in model.session.inputs)


def _random(entry: TensorSpec, shape: tuple[int, ...], generator: np.random.Generator) -> Input:
    if entry.dtype in FLOATS:
        return generator.standard_normal(shape, np.float32).astype(entry.dtype)
    if entry.dtype in BYTES:
        return generator.integers(0, 256, shape, np.uint8).view(entry.dtype)
    if entry.dtype in WHOLE:
        return np.zeros(shape, entry.dtype)  # there may be no other index
    raise ModelFileError(expected="inputs of numbers", found=f"'{entry.name}' of {entry.dtype}")


def network_name(card: ModelCard | None) -> str | None:
    """Return what a file says its network is: architecture, width, and what is unusual of how it was made."""
    if card is None:
        return None
    arch, width = card.arch, (card.spec or {}).get("width_mult")
    name = names_of(arch).short(arch, width) if isinstance(width, (int, float)) else arch
    return with_settings(name, card.weights.format, card.target, card.precision.format)


def _request(content: dict[str, Any]) -> Request:
    cpus = content.pop("cpus")
    config = MeasureConfig(**content.pop("config"))
    return Request(**content, cpus=None if cpus is None else tuple(cpus), config=config)


if __name__ == "__main__":
    main()
