"""Trials on many devices at once: each device takes them one after the other, and no device waits for another.

OUT/trials/    each trial as soon as it is measured; what is there is not measured again
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from dcd_deploy.benchmarks.bench import BenchConfig, Contest, bench, failure, unfinished
from dcd_deploy.benchmarks.environment import Environment
from dcd_deploy.benchmarks.results import BenchResult, Failure, Trial
from dcd_deploy.benchmarks.results_file import read_result, write_result
from dcd_deploy.devices.connection import Connection
from dcd_deploy.devices.parallel import run_all
from dcd_deploy.devices.target import Target
from dcd_deploy.errors import DcdDeployError, DeviceAnswerError, DeviceLostError, InputFileError, ResultFileError
from dcd_deploy.files import check_writable, sha256
from dcd_deploy.progress import Progress, silent

TRIALS = "trials"


def bench_on(
    targets: Sequence[Target],
    contests: Sequence[Contest],
    config: BenchConfig,
    progress: Progress = silent,
    not_made: Iterable[Failure] = (),
    out: Path | None = None,
) -> BenchResult:
    """Measure all ``contests`` on all ``targets``, and return all results; ``progress`` is called from several threads.

    Where ``out`` is given each trial is written there when it is done, and those that are there are taken from there,
    if they were measured with the same files and settings.

    Raises:
        DeviceError: one could not be used, or was lost; ``result`` has all that was measured.
        BenchError: a trial could not be measured; the same.
    """
    if out is not None:
        check_writable(out)
    works = [_Work(target, contests, config, progress, out) for target in targets]
    run_all(works)
    failures = [found for work in works for found in work.failures]
    first = next((work.first for work in works if work.first is not None), None)
    environments = {work.target.label: found for work in works if (found := work.environment) is not None}
    trials = tuple(trial for work in works for trial in work.trials)
    result = BenchResult(environments, config.measure, trials, (*not_made, *failures))
    if first is None:
        return result
    if not trials and len(works) == 1:
        raise first
    raise unfinished(first, len(failures), len(failures) + len(trials), result)


class _Work:
    """What one device has to do, and what it found."""

    def __init__(
        self, target: Target, contests: Sequence[Contest], config: BenchConfig, progress: Progress, out: Path | None
    ) -> None:
        self.target = target
        self.contests = _for_target(target, contests)
        self.config = config if target.cpus is None else replace(config, cpus=target.cpus)
        self.connection = Connection(target, self._progress(progress))
        self.out = out
        self.environment: Environment | None = None
        self.failures: list[Failure] = []
        self.first: DcdDeployError | None = None
        self._trials: dict[Contest, Trial] = {}
        self.here = self.connection.here
        self.stop = self.connection.stop

    @property
    def trials(self) -> list[Trial]:
        """What was measured, now or before, in the order of the contests."""
        return [self._trials[each] for each in self.contests if each in self._trials]

    def run(self) -> None:
        """Measure what is not there yet."""
        for each in self.contests:
            if (kept := self._kept(each)) is not None:
                self._take(each, kept)
        missing = [each for each in self.contests if each not in self._trials]
        if missing:
            self._measure(missing)

    def _measure(self, missing: Sequence[Contest]) -> None:
        left = list(missing)
        try:
            with self.connection.opened() as device:
                while left and not self.connection.stopped.is_set():
                    each = left[0]
                    try:
                        self._take(each, bench([each], self.config, self.connection.progress, place=device), new=True)
                    except (DeviceLostError, DeviceAnswerError):
                        raise  # and nothing after it can be measured there
                    except DcdDeployError as error:
                        self._fail(each, error)
                    left.pop(0)
        except DcdDeployError as error:
            for each in left:
                self._fail(each, error)

    def _take(self, each: Contest, found: BenchResult, *, new: bool = False) -> None:
        self._trials[each] = found.trials[0]
        self.environment = found.environments[found.trials[0].device]
        if new and self.out is not None:
            write_result(self._path(each), found)

    def _fail(self, each: Contest, error: DcdDeployError) -> None:
        self.first = self.first or error
        self.failures.append(failure(self.target.label, each, error))

    def _kept(self, each: Contest) -> BenchResult | None:
        """Return what was measured before, if it was with these files and settings."""
        if self.out is None or not self._path(each).exists():
            return None
        try:
            found = read_result(self._path(each))
        except (ResultFileError, InputFileError):
            return None
        return found if found.config == self.config.measure and self._is_of(found, each) else None

    def _is_of(self, found: BenchResult, each: Contest) -> bool:
        if len(found.trials) != 1:
            return False
        trial = found.trials[0]
        files = [(t.role, t.name, t.sha256) for t in trial.timings]
        asked = (self.target.label, each.runtime, each.threads, each.batch or trial.batch)
        return (
            (trial.device, trial.runtime, trial.threads, trial.batch) == asked
            and self.config.cpus in (None, trial.cpus)
            and (not self.config.memory or all(timing.memory is not None for timing in trial.timings))
            and files == [(c.role, c.name, sha256(c.path)) for c in each.contenders]
        )

    def _path(self, each: Contest) -> Path:
        """Return where a trial is kept: a name for people, and a hash, since two names may look the same in it."""
        assert self.out is not None
        setting = (self.target.label, *(c.name for c in each.contenders), each.runtime, each.threads, each.batch)
        digest = hashlib.sha256(repr(setting).encode("utf-8", "surrogateescape")).hexdigest()[:8]
        shown = re.sub(r"[^A-Za-z0-9._-]+", "_", f"{self.target.label}-{each.contenders[0].name}-{each.runtime}")
        return self.out / TRIALS / f"{shown.strip('._')[:100]}-t{each.threads}-{digest}.json"

    def _progress(self, progress: Progress) -> Progress:
        def stage(text: str) -> AbstractContextManager[None]:
            return progress(f"{self.target.label}: {text}")

        return stage


def _for_target(target: Target, contests: Sequence[Contest]) -> list[Contest]:
    """Return the contests with the target's own numbers of threads, if it has any."""
    if target.threads is None:
        return list(contests)
    return list(dict.fromkeys(replace(each, threads=threads) for each in contests for threads in target.threads))
