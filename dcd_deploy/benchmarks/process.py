"""Where a trial is measured: this machine, in a worker process for each trial, or whatever ``devices`` can reach.

The plan of the trials, the statistics and the verdicts are the same everywhere; a place only says what it is, brings
the files to where they are run, and lets them be measured there. A worker is started, given its request, waited for,
and ended whatever happens.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from dcd_deploy.benchmarks.environment import Environment, read_environment
from dcd_deploy.benchmarks.machine import Machine, core_ids
from dcd_deploy.benchmarks.measure import as_samples
from dcd_deploy.benchmarks.other_runtimes import ask_other
from dcd_deploy.benchmarks.worker import Request, WorkerAnswer
from dcd_deploy.errors import BenchError, remade
from dcd_deploy.progress import Progress
from dcd_deploy.runtimes.choice import RUNTIMES
from dcd_deploy.runtimes.isolated import end, ending, last_lines

LOCAL = "local"


class Host(Protocol):
    """Somewhere to measure. What comes from there is checked by whoever implements it; nothing later doubts it."""

    @property
    def name(self) -> str:
        """What the user calls it, such as "ssh://pi@board"; reports and results call it so too."""

    def environment(self) -> Environment:
        """Return what it is, as the measurement begins."""

    def cores(self) -> Sequence[int]:
        """Return the numbers of the cores that a measurement there may use."""

    def prepare(self, models: Sequence[Path], runtime: str, progress: Progress) -> None:
        """Bring model files there, if they are not, and make sure that ``runtime`` is.

        Raises:
            DeviceError: it cannot be.
        """

    def ask(self, request: Request, time_limit: float) -> WorkerAnswer:
        """Measure what is asked for, within ``time_limit`` seconds; the paths in ``request`` are of this machine.

        ``request.cpus`` None leaves the cores to the place, which may pick the fast ones; the answer says which.

        Raises:
            DcdDeployError: it cannot be measured; of another kind than ``DeviceError`` where only this trial failed.
        """


class Here:
    """This machine."""

    name = LOCAL

    def environment(self) -> Environment:
        """Describe this machine now."""
        return read_environment()

    def cores(self) -> Sequence[int]:
        """Return the cores that this process may use."""
        return core_ids()

    def prepare(self, models: Sequence[Path], runtime: str, progress: Progress) -> None:
        """Do nothing: the files are here."""

    def ask(self, request: Request, time_limit: float) -> WorkerAnswer:
        """Let a worker process measure, for a runtime that is not ours one in an environment of its own."""
        return ask(request, time_limit) if request.runtime in RUNTIMES else ask_other(request, time_limit)


WORKER = (sys.executable, "-m", "dcd_deploy.benchmarks.worker")
TIME_LIMIT = 600.0


def ask(request: Request, time_limit: float = TIME_LIMIT, command: Sequence[str] = WORKER) -> WorkerAnswer:
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
        encoding="utf-8",
        errors="replace",
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
            end(process)
    if process.returncode:
        raise BenchError(f"{request.runtime} {ending(process.returncode)}{last_lines(remarks)}")
    return _answer(said, request.runtime)


def _answer(said: str, runtime: str) -> WorkerAnswer:
    try:
        content: dict[str, Any] = json.loads(said)
        if "error" in content:
            raise remade(**content["error"])
        fields = dict(content["answer"])
        samples = {name: as_samples(found) for name, found in fields.pop("samples").items()}
        cpus = None if fields["cpus"] is None else tuple(fields["cpus"])
        return WorkerAnswer(**fields | {"samples": samples, "machine": Machine(**fields["machine"]), "cpus": cpus})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BenchError(f"expected the times of a trial from {runtime}'s process, found: {error}") from error
