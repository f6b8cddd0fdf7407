"""A worker process for each trial: started, given its request, waited for, and ended whatever happens."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from dcd_deploy import errors
from dcd_deploy.benchmarks.machine import Machine
from dcd_deploy.benchmarks.measure import Samples
from dcd_deploy.benchmarks.worker import Answer, Request
from dcd_deploy.errors import BenchError, DcdDeployError

WORKER = (sys.executable, "-m", "dcd_deploy.benchmarks.worker")
TIME_LIMIT = 600.0
LINES_SHOWN = 3


def ask(request: Request, time_limit: float = TIME_LIMIT, command: Sequence[str] = WORKER) -> Answer:
    """Let a worker measure.

    Raises:
        BenchError: the worker crashed, or did not answer within ``time_limit`` seconds.
        DcdDeployError: what the worker itself raised.
    """
    with subprocess.Popen(  # noqa: S603 - our own interpreter and module; what the user named goes in as data
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a Ctrl-C is ours to handle
    ) as process:
        try:
            said, remarks = process.communicate(json.dumps(asdict(request)), timeout=time_limit)
        except subprocess.TimeoutExpired:
            raise BenchError(
                expected=f"{request.runtime} to be done within {time_limit:g} s",
                but="it is not",
                advice="give it more with `time_limit`, or look for what it hangs on",
            ) from None
        finally:
            with suppress(ProcessLookupError):
                process.kill()
    if process.returncode:
        raise BenchError(f"{request.runtime} {ending(process.returncode)}{last_lines(remarks)}")
    return _answer(said, request.runtime)


def _answer(said: str, runtime: str) -> Answer:
    try:
        content: dict[str, Any] = json.loads(said)
        if "error" in content:
            raise _error(**content["error"])
        fields = dict(content["answer"])
        samples = {name: _samples(found) for name, found in fields.pop("samples").items()}
        cpus = None if fields["cpus"] is None else tuple(fields["cpus"])
        return Answer(**fields | {"samples": samples, "machine": Machine(**fields["machine"]), "cpus": cpus})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BenchError(f"expected the times of a trial from {runtime}'s process, found: {error}") from error


def _samples(content: dict[str, Any]) -> Samples:
    blocks = tuple(map(tuple, content.pop("blocks_ms")))
    return Samples(**{key: tuple(value) for key, value in content.items()}, blocks_ms=blocks)


def _error(kind: str, message: str) -> DcdDeployError:
    """Return the error that the worker raised, with the exit code of its kind."""
    cls = getattr(errors, kind, BenchError)
    error: DcdDeployError = cls.__new__(cls)
    Exception.__init__(error, message)
    return error


def ending(code: int) -> str:
    """Return how a process ended, by its exit code as Python has it."""
    if code >= 0:
        return f"ended its process with exit code {code}"
    with suppress(ValueError):
        return f"crashed its process with {signal.Signals(-code).name}"
    return f"crashed its process with signal {-code}"


def last_lines(remarks: str) -> str:
    """Return what a process said last, as the end of a message."""
    lines = [line.strip() for line in remarks.splitlines() if line.strip()]
    return f"; its last words: {' / '.join(lines[-LINES_SHOWN:])[:300]}" if lines else ""
