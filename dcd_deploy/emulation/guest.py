"""A model that runs under emulation: the aarch64 program started, asked, and ended whatever happens."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.emulation import executorch
from dcd_deploy.emulation.cores import Core
from dcd_deploy.emulation.inside import OPENERS
from dcd_deploy.emulation.programs import QEMU, RUNNING, check_programs
from dcd_deploy.emulation.root import Root
from dcd_deploy.errors import DeviceAnswerError, DeviceLackError, DeviceLostError, ModelFileError
from dcd_deploy.runtimes.onnxruntime import advice
from dcd_deploy.runtimes.session import Input

INSIDE = Path(__file__).with_name("inside.py")
TIME_LIMIT = 600.0
LONGEST_LINE = 10_000
# One thread, and nothing that differs from start to start. onnxruntime would send reports of its use from threads of
# its own, in the middle of what is counted.
ENVIRONMENT = {
    "HOME": "/",
    "LC_ALL": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONHASHSEED": "0",
}


class Guest:
    """An aarch64 process that has opened one model; ``version`` is its runtime's."""

    def __init__(
        self, process: subprocess.Popen[str], folder: Path, words: TextIO, time_limit: float, outputs: int = 1
    ) -> None:
        self._process = process
        self._folder = folder
        self._words = words
        self._time_limit = time_limit
        self._outputs = outputs
        self.version = str(self._answer("opened"))

    def run(self, *inputs: Input) -> tuple[NDArray[np.float32], ...]:
        """Return the model's outputs for inputs as its file has them.

        Raises:
            ModelFileError: the runtime refuses the input. DeviceLostError: it crashed, or takes too long.
        """
        self._ask(inputs, {"task": "run"})
        return tuple(self._output(i) for i in range(self._outputs))

    def count(self, inputs: Sequence[Input], runs: int) -> None:
        """Run the model ``runs`` times, with the marks that the counting plugin needs in between."""
        self._ask(inputs, {"task": "count", "runs": runs})

    def profile(self) -> Any:
        """End the runtime's profile, where it has one, and return its events."""
        self._say({"task": "end_profile"})
        self._answer("done")
        try:
            (path,) = self._folder.glob("profile*.json")
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise DeviceAnswerError(
                expected="a profile of the emulated model", but=f"it cannot be read: {error}"
            ) from error

    def close(self) -> None:
        """Let the process end, so that a plugin has written all."""
        with suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.write('{"task": "quit"}\n')
            self._process.stdin.close()
            self._process.wait(10)

    def _ask(self, inputs: Sequence[Input], request: Mapping[str, object]) -> None:
        for i, values in enumerate(inputs):
            np.save(self._folder / f"input_{i}.npy", np.ascontiguousarray(values))
        self._say(request)
        self._answer("done")

    def _say(self, request: Mapping[str, object]) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has died; the answer that does not come says so
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()

    def _answer(self, expected: str) -> Any:
        assert self._process.stdout is not None
        expired = threading.Event()

        def give_up() -> None:
            expired.set()
            self._process.kill()

        timer = threading.Timer(self._time_limit, give_up)
        timer.start()
        try:
            line = self._process.stdout.readline(LONGEST_LINE)
        finally:
            timer.cancel()
        if not line:
            raise DeviceLostError(self._ending(late=expired.is_set()))
        return _content(line, expected)

    def _output(self, number: int) -> NDArray[np.float32]:
        try:
            found: NDArray[np.float32] = np.load(self._folder / f"output_{number}.npy", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DeviceAnswerError(
                expected="an output of the emulated model", but=f"it cannot be read: {error}"
            ) from error
        return found

    def _ending(self, *, late: bool) -> str:
        if late:
            return f"expected the emulated model to answer within {self._time_limit:g} s, but it does not"
        code = self._process.wait()
        self._words.seek(0)
        lines = [line.strip() for line in self._words.read().splitlines() if line.strip()]
        last = f"; its last words: {' / '.join(lines[-3:])[:300]}" if lines else ""
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"the model's runtime ended under emulation with {how}{last}"


@contextmanager
def opened_guest(
    root: Root,
    core: Core,
    runtime: str,
    model: Path,
    plugin: Sequence[str] = (),
    time_limit: float = TIME_LIMIT,
    outputs: int = 1,
) -> Iterator[Guest]:
    """Yield ``model`` opened by an aarch64 ``runtime`` on ``core``, perhaps watched by a QEMU plugin's arguments.

    It has so many ``outputs``.

    Raises:
        DeviceLackError: there is no QEMU, or the runtime is not there.
        ModelFileError: the runtime cannot open the model.
        DeviceLostError: it crashes.
    """
    if runtime not in OPENERS:
        raise DeviceLackError(
            f"expected a runtime that the emulated cores have ({', '.join(OPENERS)}), found {runtime}; export for "
            "one of these"
        )
    check_programs(RUNNING)
    environment = _environment(root, runtime)
    with (
        tempfile.TemporaryDirectory(prefix="dcd-deploy-") as name,
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as words,
    ):
        folder = Path(name)
        shutil.copy(INSIDE, folder)  # a folder of its own: Python finds modules beside the program first
        inside = [str(root.interpreter), str(folder / INSIDE.name), runtime, str(model.absolute()), name]
        with subprocess.Popen(  # noqa: S603 - our own program; what the user named goes in as an argument
            [*_emulated(root, core, plugin), *inside],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=environment,
            start_new_session=True,  # a Ctrl-C is ours to handle
        ) as process:
            try:
                guest = Guest(process, folder, words, time_limit, outputs)
                yield guest
                guest.close()
            finally:
                with suppress(ProcessLookupError):
                    process.kill()


def _emulated(root: Root, core: Core, plugin: Sequence[str]) -> list[str]:
    """Return what starts an aarch64 program on a core, perhaps watched by a plugin."""
    command = [*fixed_addresses(), QEMU, "-cpu", core.qemu, "-seed", "1", "-L", str(root.for_core(core))]
    return [*command, "-plugin", ",".join(part.replace(",", ",,") for part in plugin)] if plugin else command


def fixed_addresses() -> list[str]:
    """Return what starts a program with the same addresses each time, where this machine has it."""
    setarch = shutil.which("setarch")
    return [setarch, "-R"] if setarch else []


def _environment(root: Root, runtime: str) -> dict[str, str]:
    paths = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONHOME": str(root.system / "usr")}
    more = executorch.environment(root) if runtime == executorch.RUNTIME else {}
    return ENVIRONMENT | paths | {"PYTHONPATH": str(root.wheels)} | more


def _content(line: str, expected: str) -> Any:
    try:
        content = json.loads(line)
        if "error" in content:
            said = str(content["error"])
            raise ModelFileError(f"the aarch64 runtime says: {said[:300]}; {advice(said)}")
        return content[expected]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DeviceAnswerError(expected="an answer of the emulated model", found=f"'{line.strip()[:80]}'") from error
