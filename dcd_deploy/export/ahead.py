"""The exporters in a process of their own, which loads them while this one reads the checkpoint.

    here     torch → read, recognise, lower → prove, the float64 reference → compare, write
    there    torch → the exporters          → trace ↗ simplify ↗, or convert ↗

Half of an export is spent on importing, on one core. So the command line starts the other process first of all,
where a second core is free and there is memory for both. What cannot be sent, or fails there, is done here
instead, where its error is met as if it had never been elsewhere; a library's caller has everything in one process.
Both ends are this program, so they speak in pickles. The other one ends with this one, however that ends.
"""

from __future__ import annotations

import atexit
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from dcd_deploy import own_process
from dcd_deploy.export.free_cores import free_cores

FORMATS = ("onnx", "ort", "tflite")  # what an ExecuTorch program is written from cannot be sent
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
            atexit.register(_begun.end)


def start(formats: Sequence[str]) -> None:
    """Let the process that was begun load what exports to those of ``formats`` that it can make, or end it."""
    global _exporter  # noqa: PLW0603
    if _begun is None:
        return
    if sendable := [format for format in formats if format in FORMATS]:
        _exporter = _begun
        _exporter.load(sendable)
    else:
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


class UnfinishedError(Exception):
    """The other process did not come to the end of what it was asked for."""


class Exporter:
    """A process that loads what makes files, and then calls functions for us.

    Calls are numbered as they are sent: (function, arguments). Of what the function yields each goes back by itself:
    (number, that it is one more, it), and at the end (number, that there is no more, whether it succeeded).
    """

    def __init__(self) -> None:
        self._process = own_process.begun(__name__, subprocess.DEVNULL)  # what fails there is done and told here
        self._answers: list[list[tuple[bool, Any]]] = []  # of each call

    def load(self, formats: Sequence[str]) -> None:
        """Let what exports to ``formats`` be loaded there."""
        with suppress(OSError):  # it is no more, as will be seen
            self._send(pickle.dumps((_load, (formats,))))

    def started(self, function: Callable[..., Iterable[Any]], *arguments: Any) -> Callable[[], Iterator[Any]] | None:
        """Let ``function`` be called there; None where it, or an argument, cannot be sent.

        What is returned waits for what it yields, one by one. Where it failed, or the process is no more, that ends in
        UnfinishedError.
        """
        try:
            from dcd_deploy.export.graph_pickle import pickled  # noqa: PLC0415 - with torch

            number = len(self._answers)
            self._send(pickled((function, arguments)))
        except Exception:  # noqa: BLE001 - a user's module may fail to be pickled in any way
            return None
        return lambda: self._results(number)

    def end(self) -> None:
        """End the process, whatever it does; it may take a moment to be gone."""
        self._process.kill()

    def close(self) -> None:
        """End the process, and wait until it is gone."""
        self.end()
        self._process.communicate()

    def _send(self, content: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(len(content).to_bytes(8, "little") + content)
        self._process.stdin.flush()
        self._answers.append([])

    def _results(self, number: int) -> Iterator[Any]:
        for place in count():
            more, value = self._answer(number, place)
            if more:
                yield value
            elif value:
                return
            else:
                raise UnfinishedError

    def _answer(self, number: int, place: int) -> tuple[bool, Any]:
        """Return the answer to a call at a place, once it has come; those to others may come before it."""
        assert self._process.stdout is not None
        while len(self._answers[number]) <= place:
            try:
                call, more, value = pickle.load(self._process.stdout)  # noqa: S301 - of our own process
            except (EOFError, OSError, pickle.UnpicklingError):  # it is no more
                call, more, value = number, False, False
            self._answers[call].append((more, value))
        return self._answers[number][place]


def serve() -> None:
    """Be the other process: load what every exporter needs, then call what is asked for."""
    answers, pipe = queue.SimpleQueue[bytes](), own_process.answers()
    own_process.settle()
    asked: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(asked,), daemon=True).start()
    threading.Thread(target=_answer, args=(answers, pipe), daemon=True).start()
    from dcd_deploy.export.graph_pickle import pickled  # noqa: PLC0415 - with torch

    with suppress(ImportError):
        import_module("torch.export._trace")
    for number in count():
        succeeded = True
        try:
            function, arguments = pickle.loads(asked.get())  # noqa: S301 - of our own process
            for each in function(*arguments):
                answers.put(pickled((number, True, each)))
        except Exception:  # noqa: BLE001 - it is done again there, where its error is met
            succeeded = False
        answers.put(pickled((number, False, succeeded)))


def _load(formats: Sequence[str]) -> tuple[()]:
    from dcd_deploy.export.formats import load_makers  # noqa: PLC0415 - with torch

    load_makers(formats)
    return ()


def _answer(answers: queue.SimpleQueue[bytes], pipe: BinaryIO) -> None:
    """Send answers as they come, while the next are made: a pipe holds little, and nobody may be reading it yet."""
    while True:
        pipe.write(answers.get())
        pipe.flush()


def _listen(asked: queue.SimpleQueue[bytes]) -> None:
    """Take in what is asked for, while modules load too; end the process when nobody is left to ask."""
    while len(length := sys.stdin.buffer.read(8)) == 8:
        asked.put(sys.stdin.buffer.read(int.from_bytes(length, "little")))
    os._exit(0)
