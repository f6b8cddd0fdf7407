"""What one emulated core has to count, and what it found; kept and taken up again as what is timed is."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from dcd_deploy.benchmarks.bench import BenchConfig, Case, failure
from dcd_deploy.benchmarks.counts import CountSection, CountTrial
from dcd_deploy.benchmarks.results import BenchResult, Failure, write_result
from dcd_deploy.devices.target import DeviceTarget
from dcd_deploy.devices.trial_files import files_of, kept_result, trial_path
from dcd_deploy.emulation.cores import CORES, core_named
from dcd_deploy.emulation.counting import RUNS, assumptions, count_trial
from dcd_deploy.emulation.programs import qemu_version
from dcd_deploy.emulation.root import wheel_versions
from dcd_deploy.errors import DcdDeployError, DeviceLackError
from dcd_deploy.progress import Progress
from dcd_deploy.runtimes.choice import RUNTIMES

PACKAGES = {
    ".onnx": "onnxruntime",
    ".ort": "onnxruntime",
    ".tflite": "ai-edge-litert",
}  # whose version a runtime's counts are of


class CountWork:
    """The trials of one core, counted one after the other.

    An emulated core is a busy process of this machine. So this is work of the caller's thread, which does one thing at
    a time: nothing is counted while this machine takes times.
    """

    here = True

    def __init__(
        self, target: DeviceTarget, cases: Sequence[Case], config: BenchConfig, progress: Progress, out: Path | None
    ) -> None:
        self.target = target
        self.core = core_named(target.name.part)
        self.cases = list(dict.fromkeys(replace(each, threads=1) for each in cases))
        self.config = config
        self.failures: list[Failure] = []
        self.first: DcdDeployError | None = None
        self.trials: list[CountTrial] = []
        self._progress = progress
        self._out = out
        self._stopped = threading.Event()

    def run(self) -> None:
        """Count what is not there yet."""
        for each in self.cases:
            if self._stopped.is_set():
                return
            kept = self._kept(each)
            if kept is not None:
                self.trials.append(kept)
                continue
            try:
                self._count(each)
            except DcdDeployError as error:  # the others may be counted still
                self.first = self.first or error
                self.failures.append(failure(self.target.label, each, error))

    def stop(self) -> None:
        """Count nothing more."""
        self._stopped.set()

    def _count(self, each: Case) -> None:
        trial = count_trial(each, self.core, RUNS, self._progress, self.config.time_limit, self.target.label)
        self.trials.append(trial)
        if self._out is not None:
            result = BenchResult({}, self.config.measure, (), (), count_section([self], [trial]))
            write_result(trial_path(self._out, self.target.label, each), result)

    def _kept(self, each: Case) -> CountTrial | None:
        """Return what was counted before, if it was of these files, by these programs, with this modelled cache."""
        found = None if self._out is None else kept_result(trial_path(self._out, self.target.label, each))
        if found is None or found.counts is None or len(found.counts.trials) != 1:
            return None
        (trial,) = found.counts.trials
        now = count_section([self], [trial])
        asked = (self.target.label, each.runtime, each.batch or trial.batch)
        version = wheel_versions().get(PACKAGES.get(RUNTIMES[each.runtime].suffix, ""))
        same = (
            found.counts == now
            and (trial.device, trial.runtime, trial.batch) == asked
            and trial.runtime_version == version
            and [(m.role, m.name, m.sha256) for m in trial.models] == files_of(each)
        )
        return trial if same else None


def count_section(works: Iterable[CountWork], trials: Iterable[CountTrial] | None = None) -> CountSection | None:
    """Return what was counted (or ``trials``), and what it rests on; None where nothing was to be counted."""
    works = list(works)
    if not works:
        return None
    qemu = None
    with suppress(DeviceLackError):  # which each of its trials has said already
        qemu = qemu_version()
    names = {work.core.name for work in works}
    stated = assumptions(core for core in CORES.values() if core.name in names)
    cores = {work.target.label: work.core.name for work in works}
    found = [trial for work in works for trial in work.trials] if trials is None else trials
    return CountSection(qemu, RUNS, stated, cores, tuple(found))
