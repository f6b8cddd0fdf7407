"""Where a trial is measured: this machine, or whatever ``devices`` can reach.

The plan of the trials, the statistics and the verdicts are the same everywhere; a place only says what it is, brings
the files to where they are run, and lets them be measured there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from dcd_deploy.benchmarks.cores import core_ids
from dcd_deploy.benchmarks.environment import Environment, read_environment
from dcd_deploy.benchmarks.process import ask
from dcd_deploy.benchmarks.worker import Answer, Request
from dcd_deploy.progress import Progress

LOCAL = "local"


class Place(Protocol):
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

    def ask(self, request: Request, time_limit: float) -> Answer:
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

    def ask(self, request: Request, time_limit: float) -> Answer:
        """Let a worker process measure."""
        return ask(request, time_limit)
