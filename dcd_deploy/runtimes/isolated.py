"""A runtime in a process of its own: a model file that crashes it, or makes it hang, takes no command down.

    ours: (function, arguments)  →  the other: calls it, and answers (DONE, value), (ERROR, kind, message, fields) or
                                    (BEGIN, text) and (END,) of its progress

Both ends are this program, so they speak in pickles. What the other prints is kept aside; when it crashes, its last
words are in the message.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from dcd_deploy import own_process
from dcd_deploy.artifacts import ModelCard
from dcd_deploy.errors import DcdDeployError, ModelFileError, remade, shown
from dcd_deploy.files import existing_file
from dcd_deploy.native_output import discard_native_output
from dcd_deploy.progress import Progress, silent
from dcd_deploy.runtimes.choice import RUNTIMES, usual_runtime
from dcd_deploy.runtimes.model import Model, as_model
from dcd_deploy.runtimes.session import Array, Input, Session
from dcd_deploy.runtimes.sidecar import warn_of_sidecar

TIME_LIMIT = 50.0  # seconds, of one call; a network for a phone takes one at most
PROFILE_LIMIT = 600.0  # of many calls
PATIENCE = 2.0
LINES_SHOWN = 3
BEGIN, END, DONE, ERROR, DEFECT = range(5)

_opened: list[Session] = []  # in the other process


class Isolated:
    """A process that calls functions for us; ``about`` is the file that it is started for.

    Raises, of a call:
        ModelFileError: the process crashed, or did not answer in time.
        DcdDeployError: what the function raised.
    """

    def __init__(self, about: Path, time_limit: float = TIME_LIMIT) -> None:
        self._about, self._limit = about, time_limit
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._process = own_process.begun(__name__, self._said)

    def __enter__(self) -> Isolated:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, function: Callable[..., Any], *arguments: Any, progress: Progress | None = None) -> Any:
        """Return what ``function``, of a module of this package, returns there; both are pickled.

        With ``progress`` the function gets one too, whose stages are shown here.
        """
        assert self._process.stdin is not None
        late = threading.Event()
        timer = threading.Timer(self._limit, self._stop, (late,))
        timer.daemon = True
        timer.start()
        try:
            pickle.dump((function, arguments, progress is not None), self._process.stdin)
            self._process.stdin.flush()
            return self._answer(progress or silent)
        except (EOFError, OSError, pickle.UnpicklingError):
            raise self._ended(late=late.is_set()) from None
        finally:
            timer.cancel()

    def close(self) -> None:
        """End the process, whatever it does."""
        end(self._process)
        for stream in (self._process.stdin, self._process.stdout, self._said):
            with suppress(OSError):  # what could not be sent to it
                stream.close()  # type: ignore[union-attr]  # they are pipes

    def _stop(self, late: threading.Event) -> None:
        late.set()
        self._process.terminate()

    def _answer(self, progress: Progress) -> Any:
        assert self._process.stdout is not None
        with ExitStack() as stages:
            while True:
                kind, *content = pickle.load(self._process.stdout)  # noqa: S301 - of our own process
                if kind == BEGIN:
                    stages.enter_context(progress(content[0]))
                elif kind == END:
                    stages.close()
                elif kind == ERROR:
                    raise remade(*content)
                elif kind == DEFECT:
                    raise RuntimeError(content[0])
                else:
                    return content[0]

    def _ended(self, *, late: bool) -> ModelFileError:
        """Return the error of a process that ended without an answer."""
        code = self._process.wait()
        self._said.seek(0)
        words = last_lines(self._said.read().decode(errors="replace"))
        what = f"gave no answer within {self._limit:g} s" if late else ending(code)
        return ModelFileError(
            expected=f"a model that can be opened and run at '{self._about}'",
            but=f"its runtime {what}{words}",
            advice="fetch or export the file again",
        )


class IsolatedSession:
    """A session in another process (``session.Session``)."""

    def __init__(self, other: Isolated, path: Path, threads: int, runtime: str) -> None:
        self._other = other
        facts = other.call(_open, path, threads, runtime)
        self.runtime, self.version, self.inputs, self.outputs, self.metadata = facts

    def run(self, images: Input) -> Array:
        """Return the first output for ``images``."""
        return self.run_all([images])[0]

    def run_all(self, inputs: Sequence[Input]) -> tuple[Array, ...]:
        """Return all outputs for all inputs."""
        found: tuple[Array, ...] = self._other.call(_run_all, list(inputs))
        return found

    def prepare(self, *inputs: Input) -> Callable[[], object]:
        """Return what runs the model on the inputs; how long that takes says nothing about the runtime."""
        return lambda: self.run_all(inputs)


@contextmanager
def isolated_model(path: str | os.PathLike[str], *, threads: int = 0, runtime: str | None = None) -> Iterator[Model]:
    """Yield the model of a file as ``open_model`` returns it, opened and run in a process of its own.

    Raises:
        DcdDeployError: as ``open_model``; ModelFileError where the runtime crashes.
    """
    path = existing_file(path, "a model file")
    runtime = runtime or usual_runtime(path)
    warn_of_sidecar(path)
    with Isolated(path) as other:
        session = IsolatedSession(other, path, threads, runtime)
        yield as_model(session, RUNTIMES[runtime].suffix.removeprefix("."))


def isolated_card(path: str | os.PathLike[str]) -> ModelCard:
    """Return how a model file describes itself, opened in a process of its own.

    Raises:
        ModelFileError: it has no description, or is damaged.
    """
    with isolated_model(path, threads=1) as model:
        return model.described()


def _open(path: Path, threads: int, runtime: str) -> tuple[Any, ...]:
    session = RUNTIMES[runtime].open(path, threads)
    _opened.append(session)
    return session.runtime, session.version, session.inputs, session.outputs, session.metadata


def _run_all(inputs: Sequence[Input]) -> tuple[Array, ...]:
    return _opened[-1].run_all(inputs)


def serve() -> None:
    """Be the other process: call what is asked for, until nobody asks any more."""
    answers = own_process.answers()

    def send(*message: object) -> None:
        pickle.dump(message, answers)
        answers.flush()

    @contextmanager
    def progress(text: str) -> Iterator[None]:
        send(BEGIN, text)
        yield
        send(END)

    limit_memory()
    with suppress(EOFError, KeyboardInterrupt, BrokenPipeError):
        while True:
            function, arguments, wants_progress = pickle.load(sys.stdin.buffer)  # noqa: S301 - of our own process
            send(*_called(function, arguments, {"progress": progress} if wants_progress else {}))
    discard_native_output()
    os._exit(0)  # without taking apart what nobody needs


def _called(function: Callable[..., Any], arguments: Sequence[Any], more: dict[str, Any]) -> tuple[Any, ...]:
    try:
        return DONE, function(*arguments, **more)
    except DcdDeployError as error:
        return ERROR, type(error).__name__, str(error), (error.expected, error.found, error.advice)
    except MemoryError:
        return ERROR, ModelFileError.__name__, "the model asks for more memory than there is; export it anew"
    except Exception as error:  # noqa: BLE001 - the other side says it
        traceback.print_exc()
        return DEFECT, f"{type(error).__name__}: {error}"


def limit_memory() -> None:
    """Let this process have half of the machine's memory at most, so that no file can take it all; where that works."""
    with suppress(ImportError, OSError, ValueError, AttributeError):
        import resource  # noqa: PLC0415 - Windows has none

        half = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
        before, most = resource.getrlimit(resource.RLIMIT_DATA)
        limits = [value for value in (before, most, half) if value != resource.RLIM_INFINITY]
        resource.setrlimit(resource.RLIMIT_DATA, (min(limits), most))


def end(process: subprocess.Popen[Any]) -> None:
    """End a process, kindly first."""
    with suppress(OSError):
        process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def ending(code: int) -> str:
    """Return how a process ended, by its exit code as Python has it."""
    if code >= 0:
        return f"ended its process with exit code {code}"
    with suppress(ValueError):
        return f"crashed its process with {signal.Signals(-code).name}"
    return f"crashed its process with signal {-code}"


def last_lines(remarks: str) -> str:
    """Return what a process said last, as the end of a message."""
    lines = [line.strip() for line in remarks.splitlines() if line.strip()]
    return f"; its last words: {shown(' / '.join(lines[-LINES_SHOWN:]), 300)}" if lines else ""
