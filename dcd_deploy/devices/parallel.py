"""Work on several devices at once: a thread for each, and an interruption that ends all of them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

PATIENCE = 5.0  # seconds for a thread to see that it is to stop; one that still connects ends by itself, later
TICK = 0.2


class Job(Protocol):
    """Work on one device; what it finds, or fails with, it keeps to itself."""

    @property
    def here(self) -> bool:
        """Whether it is done in the thread of the caller, where a Ctrl-C comes in."""

    def run(self) -> None:
        """Do the work."""

    def stop(self) -> None:
        """Let ``run`` in another thread end soon."""


def run_all(jobs: Sequence[Job]) -> None:
    """Run all jobs, and return when all are done; none waits for another.

    An interruption, or a defect in one of them, stops all, and is raised when they have ended.
    """
    faults: list[BaseException] = []
    threads = [threading.Thread(target=_kept, args=(job, faults), daemon=True) for job in jobs if not job.here]
    try:
        for thread in threads:
            thread.start()
        for job in jobs:
            if job.here:
                job.run()
        for thread in threads:
            while thread.is_alive() and not faults:
                thread.join(TICK)  # a join without end would not see a Ctrl-C
    except BaseException:
        _stop(jobs, threads)
        raise
    if faults:
        _stop(jobs, threads)
        raise faults[0]


def _kept(job: Job, faults: list[BaseException]) -> None:
    try:
        job.run()
    except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
        faults.append(error)


def _stop(jobs: Sequence[Job], threads: Sequence[threading.Thread]) -> None:
    for job in jobs:
        job.stop()
    for thread in threads:
        if thread.ident is not None:
            thread.join(PATIENCE)
