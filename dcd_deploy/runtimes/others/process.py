"""A runtime asked in a process of its own, which may crash, hang or refuse without taking us along."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dcd_deploy.errors import shown
from dcd_deploy.own_process import PASSIVE, POLICY
from dcd_deploy.runtimes.others.last_words import last_words
from dcd_deploy.runtimes.session import Array, Input

WORKER = Path(__file__).with_name("worker.py")
LONGEST = 300  # characters of what it says
SYSTEM = "/usr/bin:/bin"


@dataclass(frozen=True)
class ModelAnswer:
    """What one file gave: its outputs on the samples, seconds to open it, milliseconds of a run in each block.

    ``left_out`` are the operators that the runtime's device does not take, None where it takes a file whole or not.
    ``samples`` are what the measuring loop found, where one was named.
    """

    outputs: tuple[Array, ...]
    open_s: float
    cpu_ms: tuple[float, ...]
    wall_ms: tuple[float, ...]
    left_out: tuple[str, ...] | None
    samples: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Loop:
    """A measuring loop: the ``file`` that holds it, and its configuration."""

    file: Path
    config: Mapping[str, float]


@dataclass(frozen=True)
class Names:
    """What a file calls its inputs and outputs, in their order."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """What a runtime made of some files; ``failure`` says what went wrong, and then there are no ``models``."""

    runtime: str
    version: str | None = None
    models: tuple[ModelAnswer, ...] = ()
    failure: str | None = None
    idle_mb: float | None = None
    peak_mb: float | None = None


def ask(
    runtime: str,
    models: Sequence[Path],
    inputs: Mapping[str, Input],
    outputs: Sequence[str],
    *,
    named: Mapping[Path, Names] | None = None,
    python: Path = Path(sys.executable),
    threads: int = 1,
    blocks: int = 0,
    loop: Loop | None = None,
    cpus: Sequence[int] | None = None,
    timeout_s: float = 600.0,
) -> Answer:
    """Open files in a runtime, run each on all samples of ``inputs`` (samples, …), and time them in turns.

    ``runtime`` is the name of a module beside this one, ``python`` of the environment that has its package. They are
    timed in so many ``blocks``, or by a ``loop``; ``cpus`` are the cores to keep to. ``named`` are files that another
    tool renamed the tensors of.
    """
    usual = Names(tuple(inputs), tuple(outputs))
    samples = len(next(iter(inputs.values())))
    request = {
        "runtime": runtime,
        "models": [{"path": str(path.resolve()), **asdict((named or {}).get(path, usual))} for path in models],
        "samples": samples,
        "threads": threads,
        "blocks": blocks,
        "loop": None if loop is None else {"file": str(loop.file), "config": dict(loop.config)},
        "cpus": None if cpus is None else list(cpus),
    }
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        np.savez(out / "inputs.npz", *inputs.values())
        (out / "request.json").write_text(json.dumps(request), encoding="utf-8")
        command = [str(python), "-I", str(WORKER), str(out / "request.json")]
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=timeout_s, cwd=folder, env=environment_of(python), check=False
            )
        except subprocess.TimeoutExpired:
            return Answer(
                runtime, _told(out, "version"), failure=f"did not end within {timeout_s:.0f} s, {_stage(out)}"
            )
        except OSError as error:
            return Answer(runtime, failure=f"its Python cannot be started: {error}")
        if done.returncode != 0:
            return Answer(runtime, _told(out, "version"), failure=_failure(done, out))
        return _answer(runtime, out, len(models), len(outputs))


def environment_of(python: Path) -> dict[str, str]:
    """Return the variables of a runtime's process: no other environment's programs, and nothing that pip may fetch.

    There are packages that install others when they are imported, into whatever environment comes first on the path.
    """
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    path = os.pathsep.join((str(python.parent), SYSTEM))
    return {**kept, "PATH": path, "PIP_NO_INDEX": "1", POLICY: PASSIVE}


def _answer(runtime: str, out: Path, models: int, outputs: int) -> Answer:
    try:
        told: Any = json.loads((out / "answer.json").read_text(encoding="utf-8"))
        answers = []
        for index, model in enumerate(told["models"][:models]):
            with np.load(out / f"{index}.npz") as file:
                values = tuple(file[str(i)] for i in range(outputs))
            cpu, wall = (tuple(map(float, model[name])) for name in ("cpu_ms", "wall_ms"))
            left_out = None if model["left_out"] is None else tuple(map(str, model["left_out"]))
            samples = told["samples"][index] if "samples" in told else None
            answers.append(ModelAnswer(values, float(model["open_s"]), cpu, wall, left_out, samples))
        return Answer(runtime, _told(out, "version"), tuple(answers), None, told["idle_mb"], told["peak_mb"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Answer(runtime, _told(out, "version"), failure=f"its answer cannot be read: {error}")


def _failure(done: subprocess.CompletedProcess[bytes], out: Path) -> str:
    if done.returncode < 0:
        return f"crashed ({signal.Signals(-done.returncode).name}), {_stage(out)}"
    said = last_words(*(stream.decode(errors="replace") for stream in (done.stdout, done.stderr)))
    return f"{_stage(out)}: {shown(said, LONGEST) if said else f'exit code {done.returncode}'}"


def _stage(out: Path) -> str:
    return _told(out, "stage") or "starting"


def _told(out: Path, what: str) -> str | None:
    file = out / what
    return file.read_text(encoding="utf-8") if file.is_file() else None
