"""Models run by ExecuTorch's own runtime, from its Python package, with the XNNPACK delegate that is part of it.

Nothing checks what a delegate's part of a file holds before it runs, and the process ends where that is damaged. A file
of ours has a hash; one without, or whose hash is another, is first run in a process of its own.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np

from dcd_deploy.errors import ModelFileError, OptionError
from dcd_deploy.files import existing_file
from dcd_deploy.native_output import captured_native_output, without_remarks
from dcd_deploy.optional import require
from dcd_deploy.runtimes.litert import installed_version
from dcd_deploy.runtimes.pte_file import FORWARD, read_program
from dcd_deploy.runtimes.session import Array, Input, check_count

PACKAGE = "executorch"
TRIAL_SECONDS = 120
_open: weakref.WeakSet[ExecuTorchSession] = weakref.WeakSet()  # they share one pool of threads
_lock = threading.Lock()


class ExecuTorchSession:
    """An ExecuTorch program, from a file or from bytes, for ``threads`` threads (0: as many as there are cores).

    ``trusted`` says that it may be run at once, without a trial in a process of its own; ``traced`` that the runtime's
    tracer records its runs.

    Raises:
        InputFileError: there is no such file.
        MissingDependencyError: executorch is not installed.
        ModelFileError: the file is damaged, or holds what this runtime does not run.
        OptionError: models are open with another number of threads, which all share.
    """

    def __init__(self, model: Path | bytes, threads: int = 0, *, trusted: bool = False, traced: bool = False) -> None:
        content = existing_file(model, "an ExecuTorch program").read_bytes() if isinstance(model, Path) else model
        where = str(model) if isinstance(model, Path) else "the exported program"
        program = read_program(content, where)
        self.metadata, self.inputs, self.outputs = program.texts, program.inputs, program.outputs
        if program.intact is False:
            raise ModelFileError(
                f"expected the ExecuTorch program at '{where}' as it was written, but its hash says otherwise; "
                "fetch the file again, or export it again"
            )
        self._torch: Any = require("torch")
        with _quiet():
            runtime = require("executorch.runtime")
        self.runtime, self.version = PACKAGE, installed_version(PACKAGE)
        with _file_of(content) as path:
            if not trusted and not program.intact:
                _try(path, where)
            _share_threads(threads or os.cpu_count() or 1)
            with _refusing(where):
                self._program = runtime.Runtime.get().load_program(path, enable_etdump=traced)
                self._method = self._program.load_method(FORWARD)
        _open.add(self)

    def run(self, images: Input) -> Array:
        """Return the first output for ``images`` (N, C, H, W)."""
        return self.run_all([images])[0]

    def run_all(self, inputs: Sequence[Input]) -> tuple[Array, ...]:
        """Return all outputs for all inputs."""
        run = self.prepare(*inputs)
        with _refusing("the model"):
            outputs: Any = run()
        return tuple(np.asarray(each.numpy(), np.float32) for each in outputs)

    def prepare(self, *inputs: Input) -> Callable[[], object]:
        """Set the inputs and return what runs the model on them, and does nothing else."""
        check_count(inputs, self.inputs)
        for values, wanted in zip(inputs, self.inputs):
            if values.shape != wanted.shape or values.dtype != np.dtype(wanted.dtype):
                raise ModelFileError(
                    f"the model cannot run on an input of shape {values.shape} and type {values.dtype} "
                    f"(it takes {wanted.shape} of {wanted.dtype})"
                )
        given = tuple(self._torch.from_numpy(np.array(values, order="C")) for values in inputs)
        execute = self._method.execute
        return lambda: execute(given)

    def trace(self) -> bytes:
        """Return what the tracer recorded of all runs so far."""
        with tempfile.TemporaryDirectory(prefix="dcd-deploy-") as folder, _refusing("the traced model"):
            path = Path(folder, "trace")
            self._program.write_etdump_result_to_file(str(path), str(path.with_suffix(".values")))
            return path.read_bytes()


def _share_threads(threads: int) -> None:
    """Let the runtime have so many threads: it has one pool, which must not change under an open model.

    Raises:
        OptionError: one is open with another number.
    """
    with _lock, _quiet():
        library = require("executorch.extension.pybindings.portable_lib")
        found = library._threadpool_get_thread_count()  # noqa: SLF001 - there is no public way
        if found == threads:
            return
        if len(_open):
            raise OptionError(
                f"expected {found} threads, which other ExecuTorch models are open with here and all share, found "
                f"{threads}; close them first, or give the same number"
            )
        library._unsafe_reset_threadpool(threads)  # noqa: SLF001 - likewise


def _try(path: str, where: str) -> None:
    """Run a program in a process of its own.

    Raises:
        ModelFileError: it does not run there.
    """
    code = "import sys; from dcd_deploy.runtimes.executorch import try_once; try_once(sys.argv[1])"
    expected = f"expected an ExecuTorch program that runs at '{where}', but"
    try:
        done = subprocess.run(  # noqa: S603 - this program itself
            [sys.executable, "-c", code, path],
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=TRIAL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelFileError(f"{expected} it does not end within {TRIAL_SECONDS} s") from error
    if done.returncode < 0:
        raise ModelFileError(
            f"{expected} it ends the process that runs it (signal {-done.returncode}); it is damaged, or made for "
            "another version of executorch: fetch or export it again"
        )
    if done.returncode > 0:
        said = (done.stderr.strip().splitlines() or ["no reason"])[-1].rpartition("says: ")[2][:300]
        raise ModelFileError(f"{expected} the runtime says: {said}")


def try_once(path: str) -> None:
    """Run a program on zeros: what ``_try`` starts."""
    session = ExecuTorchSession(Path(path), 1, trusted=True)
    session.run_all([np.zeros([size or 1 for size in each.shape], each.dtype) for each in session.inputs])


@contextmanager
def _file_of(content: bytes) -> Iterator[str]:
    """Yield the path of a file with these bytes: what was checked is what is loaded, whatever becomes of the file."""
    with tempfile.TemporaryDirectory(prefix="dcd-deploy-") as folder:
        path = Path(folder) / "model.pte"
        path.write_bytes(content)
        yield str(path)


@contextmanager
def _quiet() -> Iterator[Callable[[], str]]:
    """Keep what the runtime and its packages remark off the terminal; the yielded function returns it."""
    with without_remarks(), captured_native_output() as said, redirect_stderr(io.StringIO()) as python:
        yield lambda: python.getvalue() + said()  # the runtime writes through Python's stream while Python calls it


@contextmanager
def _refusing(where: str) -> Iterator[None]:
    """Turn the runtime's errors within the block into ours, with its first remark, which has the reason."""
    with _quiet() as remarks:
        try:
            yield
        except RuntimeError as error:
            lines = [line.partition("] ")[2] for line in remarks().splitlines() if line.startswith("[")]
            said = [line for line in lines if line and "cpu" not in line.lower() and "threadpool" not in line]
            text = " ".join(" ".join([str(error), *said[:1]]).split())[:300]
            raise ModelFileError(
                f"expected an ExecuTorch program at '{where}', but the runtime says: {text}"
            ) from error
