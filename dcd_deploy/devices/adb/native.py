"""A phone on which a runner made for it measures: Google's ``benchmark_model``, onnxruntime's perf test."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from dcd_deploy.artifacts import LITERT_COMPILED
from dcd_deploy.benchmarks.environment import Environment
from dcd_deploy.benchmarks.machine import Machine, big_cores
from dcd_deploy.benchmarks.worker import MEMORY, Request, WorkerAnswer
from dcd_deploy.devices.adb.base import AdbDevice
from dcd_deploy.devices.adb.facts import during, environment, snapshot
from dcd_deploy.devices.adb.files import check_runs_on, common_batch, described
from dcd_deploy.devices.adb.known_runners import BenchmarkModel, PerfTest
from dcd_deploy.devices.adb.phone import IN_THE_SHELL, Phone
from dcd_deploy.devices.adb.runner import Effort, Run, Runner, Starter, kind_of, measure_starts
from dcd_deploy.errors import BenchError, DeviceLackError
from dcd_deploy.files import existing_file, sha256
from dcd_deploy.progress import Progress
from dcd_deploy.runtimes.choice import RUNTIMES

KINDS: tuple[Runner, ...] = (BenchmarkModel(), PerfTest())
PLAIN = "-plain"  # how the names of runtimes without their usual layout or delegate end


class NativePhone(AdbDevice):
    """A phone with a runner for each kind of model file, at most."""

    def __init__(self, name: str, phone: Phone, runners: Sequence[Path]) -> None:
        super().__init__(name, phone)
        abi = self.first.prop("ro.product.cpu.abi")
        self.runners: dict[str, tuple[Runner, Path]] = {}
        for path in runners:
            kind = kind_of(existing_file(path, "a runner"), KINDS)
            check_runs_on(path, abi)
            self.runners[kind.suffix] = (kind, path)

    def environment(self) -> Environment:
        """Return what it is now."""
        builds = {kind.name: f"build {_build(path)}" for kind, path in self.runners.values()}
        return environment(snapshot(self.phone), builds, (IN_THE_SHELL,))

    def _prepare(self, models: Sequence[Path], runtime: str, progress: Progress) -> None:
        _, program = self._runner(runtime)
        with progress(f"send to {self.name}"):
            self.phone.send(program, executable=True)
            for model in models:
                self.phone.send(model)

    def _ask(self, request: Request, time_limit: float) -> WorkerAnswer:
        kind, program = self._runner(request.runtime)
        models = {name: described(Path(path)) for name, path in request.models.items()}
        batch = common_batch(models, request.batch)
        cpus = self._cpus(request)
        version = f"{kind.name} {_build(program)}"
        if request.task == MEMORY:  # no runner prints it so that it could be compared
            return WorkerAnswer(request.runtime, version, batch, {}, {}, {}, Machine(), cpus)
        ends = time.monotonic() + time_limit
        with self.phone.workplace() as place:
            starter = Starter(self.phone, kind, self.phone.send(program, executable=True), place, cpus)
            runs: dict[str, Run] = {
                name: partial(starter.start, self.phone.send(Path(path))) for name, path in request.models.items()
            }
            asked = Effort(0, 0.0, 0, 0.0, 0.0, request.threads, request.runtime.endswith(PLAIN))
            before = snapshot(self.phone)
            samples = measure_starts(runs, request.config, asked, partial(_left, ends, kind.name))
            machine = during(before, snapshot(self.phone))
        networks = {name: model.network for name, model in models.items()}
        hashes = {name: sha256(Path(path)) for name, path in request.models.items()}
        version = f"{version}, a sample: {starter.sample}"
        return WorkerAnswer(request.runtime, version, batch, networks, hashes, samples, machine, cpus)

    def _cpus(self, request: Request) -> tuple[int, ...] | None:
        """Return the cores to keep to: those asked for, else the fast ones, where there are enough of them."""
        if request.cpus is not None:
            return request.cpus
        big = big_cores(self.kinds)
        return big if big is not None and len(big) >= request.threads else None

    def _runner(self, runtime: str) -> tuple[Runner, Path]:
        suffix = RUNTIMES[runtime].suffix
        if not self.runners:
            raise DeviceLackError(
                expected=f"a way to measure on {self.name}",
                found="neither Python there nor a `runner`",
                advice=(
                    "give benchmark_model or onnxruntime_perf_test, made for the phone, with `runner` PATH "
                    "(docs/devices.md)"
                ),
            )
        if runtime == LITERT_COMPILED:
            raise DeviceLackError(
                expected="a runtime that benchmark_model is",
                found=f"{runtime}, whose flag it cannot set",
                advice="choose `runtime` litert, or measure by Python on the phone",
            )
        if suffix not in self.runners:
            wanted = next((kind for kind in KINDS if kind.suffix == suffix), None)
            if wanted is None:
                raise DeviceLackError(
                    f"expected a model that a runner for phones takes, found '{suffix}', for which there is none; "
                    "measure by Python on the phone, or export to another format"
                )
            raise DeviceLackError(
                expected=f"a runner for '{suffix}' files",
                found=f"`runner` for {', '.join(self.runners)} alone",
                advice=f"give {wanted.name} by another `runner`",
            )
        return self.runners[suffix]


def _left(ends: float, runner: str) -> float:
    """Return how many seconds are left."""
    left = ends - time.monotonic()
    if left <= 0:
        raise BenchError(
            expected=f"{runner} to be done in time", but="it is not", advice="give it more with `time_limit`"
        )
    return left


def _build(path: Path) -> str:
    return sha256(path)[:12]
