"""Trials on many devices at once: each device takes them one after the other, and no device waits for another.

What stands in OUT/trials/ is not measured again. Emulated cores count, when all times of this machine are taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from dcd_deploy.benchmarks.bench import BenchConfig, Case, bench, failure, unfinished
from dcd_deploy.benchmarks.environment import Environment
from dcd_deploy.benchmarks.results import BenchResult, Failure, Trial, write_result
from dcd_deploy.devices.connection import Connection
from dcd_deploy.devices.counting import CountWork, count_section
from dcd_deploy.devices.parallel import run_all
from dcd_deploy.devices.target import DeviceTarget
from dcd_deploy.devices.trial_files import files_of, kept_result, trial_path
from dcd_deploy.emulation.cores import EMULATED
from dcd_deploy.errors import DcdDeployError, DeviceAnswerError, DeviceLostError
from dcd_deploy.files import check_writable
from dcd_deploy.progress import Progress, silent


def bench_on(
    targets: Sequence[DeviceTarget],
    cases: Sequence[Case],
    config: BenchConfig,
    progress: Progress = silent,
    not_made: Iterable[Failure] = (),
    out: Path | None = None,
) -> BenchResult:
    """Measure all ``cases`` on all ``targets``, and return all results; ``progress`` is called from several threads.

    On emulated cores they are counted.

    Where ``out`` is given each trial is written there when it is done, and those that are there are taken from there,
    if they were measured with the same files and settings.

    Raises:
        DeviceError: one could not be used, or was lost; ``result`` has all that was measured.
        BenchError: a trial could not be measured; the same.
    """
    if out is not None:
        check_writable(out)
    timed = [_Work(target, cases, config, progress, out) for target in targets if target.name.kind != EMULATED]
    counted = [CountWork(target, cases, config, progress, out) for target in targets if target.name.kind == EMULATED]
    works: list[_Work | CountWork] = [*timed, *counted]
    run_all(works)
    failures = [found for work in works for found in work.failures]
    first = next((work.first for work in works if work.first is not None), None)
    environments = {work.target.label: found for work in timed if (found := work.environment) is not None}
    trials = tuple(trial for work in timed for trial in work.trials)
    result = BenchResult(environments, config.measure, trials, (*not_made, *failures), count_section(counted))
    if first is None:
        return result
    done = sum(len(work.trials) for work in works)
    if not done and len(works) == 1:
        raise first
    raise unfinished(first, len(failures), len(failures) + done, result)


class _Work:
    """What one device has to do, and what it found."""

    def __init__(
        self, target: DeviceTarget, cases: Sequence[Case], config: BenchConfig, progress: Progress, out: Path | None
    ) -> None:
        self.target = target
        self.cases = _for_target(target, cases)
        self.config = config if target.cpus is None else replace(config, cpus=target.cpus)
        self.connection = Connection(target, self._progress(progress))
        self.out = out
        self.environment: Environment | None = None
        self.failures: list[Failure] = []
        self.first: DcdDeployError | None = None
        self._trials: dict[Case, Trial] = {}
        self.here = self.connection.here
        self.stop = self.connection.stop

    @property
    def trials(self) -> list[Trial]:
        """What was measured, now or before, in the order of the cases."""
        return [self._trials[each] for each in self.cases if each in self._trials]

    def run(self) -> None:
        """Measure what is not there yet."""
        for each in self.cases:
            if (kept := self._kept(each)) is not None:
                self._take(each, kept)
        missing = [each for each in self.cases if each not in self._trials]
        if missing:
            self._measure(missing)

    def _measure(self, missing: Sequence[Case]) -> None:
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

    def _take(self, each: Case, found: BenchResult, *, new: bool = False) -> None:
        self._trials[each] = found.trials[0]
        self.environment = found.environments[found.trials[0].device]
        if new and self.out is not None:
            write_result(trial_path(self.out, self.target.label, each), found)

    def _fail(self, each: Case, error: DcdDeployError) -> None:
        self.first = self.first or error
        self.failures.append(failure(self.target.label, each, error))

    def _kept(self, each: Case) -> BenchResult | None:
        """Return what was measured before, if it was with these files and settings."""
        found = None if self.out is None else kept_result(trial_path(self.out, self.target.label, each))
        return found if found and found.config == self.config.measure and self._is_of(found, each) else None

    def _is_of(self, found: BenchResult, each: Case) -> bool:
        if len(found.trials) != 1:
            return False
        trial = found.trials[0]
        files = [(t.role, t.name, t.sha256) for t in trial.timings]
        asked = (self.target.label, each.runtime, each.threads, each.batch or trial.batch)
        return (
            (trial.device, trial.runtime, trial.threads, trial.batch) == asked
            and self.config.cpus in (None, trial.cpus)
            and (not self.config.memory or all(timing.memory is not None for timing in trial.timings))
            and files == files_of(each)
        )

    def _progress(self, progress: Progress) -> Progress:
        def stage(text: str) -> AbstractContextManager[None]:
            return progress(f"{self.target.label}: {text}")

        return stage


def _for_target(target: DeviceTarget, cases: Sequence[Case]) -> list[Case]:
    """Return the cases with the target's own numbers of threads, if it has any."""
    if target.threads is None:
        return list(cases)
    return list(dict.fromkeys(replace(each, threads=threads) for each in cases for threads in target.threads))
