"""The exporters in a process of their own, which loads them while this one reads the checkpoint.

    here     torch → read, recognise, prove, lower → the float64 reference → compare, write
    there    torch → the exporters                 → trace, convert, simplify ↗

Half of an export is spent on importing, on one core. So the command line starts the other process first of all,
where a second core is free and there is memory for both. What cannot be sent, or fails there, is done here
instead, where its error is met as if it had never been elsewhere; a library's caller has everything in one process.
Both ends are this program, so they speak in pickles. The other one ends with this one, however that ends.
"""

from __future__ import annotations

import atexit
import gc
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from dcd_deploy.export.free_cores import free_cores

FORMATS = ("onnx", "ort", "tflite")  # what an ExecuTorch program is written from cannot be sent
POLICY, PASSIVE = "OMP_WAIT_POLICY", "PASSIVE"  # of torch's threads, which spin otherwise
LEAST_MEMORY = 6 << 30  # available: the largest published network takes 4 GB, torch and the exporters one
MEMORY, CONTAINER = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
LIMITS = (
    (CONTAINER / "memory.max", CONTAINER / "memory.current"),
    (CONTAINER / "memory/memory.limit_in_bytes", CONTAINER / "memory/memory.usage_in_bytes"),  # of older kernels
)

_begun: Exporter | None = None
_exporter: Exporter | None = None


def begin() -> None:
    """Start the process, if it would help, before it is known what for; for a program that is nothing but an export."""
    global _begun  # noqa: PLW0603 - as the other process is this one's
    if free_cores() > 1 and available_memory() >= LEAST_MEMORY:
        with suppress(OSError):  # no more processes
            _begun = Exporter()
            atexit.register(_begun.close)


def start(formats: Sequence[str]) -> None:
    """Let the process that was begun load what exports to ``formats``; end it where it cannot."""
    global _exporter  # noqa: PLW0603
    if _begun is not None and set(formats) <= set(FORMATS):
        _exporter = _begun
        _exporter.load(formats)
    elif _begun is not None:
        _begun.close()


def exporter() -> Exporter | None:
    """Return the process that makes files for us, if there is one."""
    return _exporter


def available_memory() -> int:
    """Return how many bytes programs, and those of this container, can have yet; 0 where that cannot be told."""
    with suppress(OSError, ValueError, IndexError):
        lines = MEMORY.read_text(encoding="ascii").splitlines()
        free = next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), 0)
        return min([free, *(_left(*files) for files in LIMITS)])
    return 0


def _left(limit: Path, used: Path) -> int:
    """Return what a container's limit leaves; more than any machine has where there is none."""
    with suppress(OSError, ValueError):  # "max"
        return int(limit.read_text(encoding="ascii")) - int(used.read_text(encoding="ascii"))
    return sys.maxsize


class Exporter:
    """A process that loads what makes files, and then calls functions for us."""

    def __init__(self) -> None:
        begin = f"import sys; sys.path[:] = {sys.path!r}; from dcd_deploy.export.ahead import serve; serve()"
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-c", begin],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what fails there is done and told here
            env={POLICY: PASSIVE, **os.environ},  # as the command line has it
            start_new_session=True,  # a Ctrl-C is ours to handle
        )
        self._sent = 0
        self._answers: list[tuple[bool, Any]] = []

    def load(self, formats: Sequence[str]) -> None:
        """Let what exports to ``formats`` be loaded there."""
        with suppress(OSError):  # it is no more, as will be seen
            self._send(pickle.dumps((_load, (formats,))))

    def started(self, function: Callable[..., Any], *arguments: Any) -> Callable[[], tuple[bool, Any]] | None:
        """Let ``function`` be called there; None where it, or an argument, cannot be sent.

        What is returned waits for it: whether it succeeded, and its result.
        """
        try:
            from dcd_deploy.export.graph_pickle import pickled  # noqa: PLC0415 - with torch

            number = self._send(pickled((function, arguments)))
        except Exception:  # noqa: BLE001 - a user's module may fail to be pickled in any way
            return None
        return lambda: self._answer(number)

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.communicate()

    def _send(self, content: bytes) -> int:
        """Send a call, and return which one it is."""
        assert self._process.stdin is not None
        self._process.stdin.write(len(content).to_bytes(8, "little") + content)
        self._process.stdin.flush()
        self._sent += 1
        return self._sent - 1

    def _answer(self, number: int) -> tuple[bool, Any]:
        assert self._process.stdout is not None
        while len(self._answers) <= number:
            try:
                answer = pickle.load(self._process.stdout)  # noqa: S301 - of our own process
            except (EOFError, OSError, pickle.UnpicklingError):  # it is no more
                answer = (False, None)
            self._answers.append(answer)
        return self._answers[number]


def serve() -> None:
    """Be the other process: load what every exporter needs, then call what is asked for."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what exporters print is no answer
    gc.set_threshold(50_000, 20, 100)  # as in the process that it works for
    asked: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(asked,), daemon=True).start()
    from dcd_deploy.export.graph_pickle import pickled  # noqa: PLC0415 - with torch

    with suppress(ImportError):
        import_module("torch.export._trace")
    while True:
        try:
            function, arguments = pickle.loads(asked.get())  # noqa: S301 - of our own process
            answer = pickled((True, function(*arguments)))
        except Exception:  # noqa: BLE001 - it is done again there, where its error is met
            answer = pickled((False, None))
        answers.write(answer)
        answers.flush()


def _load(formats: Sequence[str]) -> None:
    from dcd_deploy.export.formats import load_makers  # noqa: PLC0415 - with torch

    load_makers(formats)


def _listen(asked: queue.SimpleQueue[bytes]) -> None:
    """Take in what is asked for, while modules load too; end the process when nobody is left to ask."""
    while len(length := sys.stdin.buffer.read(8)) == 8:
        asked.put(sys.stdin.buffer.read(int.from_bytes(length, "little")))
    os._exit(0)
