"""LiteRT's profiler, which tells the time of each operator inside the XNNPACK delegate.

Python's interpreter has no door to it, but the library that comes with it exports LiteRT's C interface, which has. That
interface may change from version to version, and a call with other arguments than the library expects ends the
process; so it is only called in the versions that it was tried with.

    environment, model, options (profiling on, threads) → compiled model, its buffers, its profiler
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint64, c_void_p
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.errors import MissingDependencyError, ModelFileError
from dcd_deploy.native_output import captured_native_output
from dcd_deploy.optional import require
from dcd_deploy.runtimes.litert_compiled import PACKAGE, TRIED
from dcd_deploy.runtimes.session import Input

LIBRARY = "libLiteRt.so"
CPU = 1
OPERATOR, DELEGATED_OPERATOR = 2, 8  # types of events
LOCK_TO_READ, LOCK_TO_WRITE = 0, 1
TENSOR_TYPE_BYTES = 512  # more than a LiteRtRankedTensorType takes


class _Event(ctypes.Structure):
    _fields_ = (
        ("tag", c_char_p),
        ("type", c_int),
        ("start_us", c_uint64),
        ("elapsed_us", c_uint64),
        ("memory", c_size_t * 6),
        ("index", c_uint64),
        ("subgraph", c_uint64),
        ("source", c_int),
    )


@dataclass(frozen=True)
class OperatorTime:
    """An operator that ran: what the runtime calls it; its place in the file where no delegate took it, else None."""

    label: str
    index: int | None
    elapsed_us: int


class ProfiledLiteRt:
    """A TFLite model compiled by LiteRT for the CPU, with its profiler; ``inputs`` are as the file wants them.

    ``flags`` are XNNPACK's, None for its defaults.

    Raises:
        MissingDependencyError: the package is not installed, or in a version that was not tried.
        ModelFileError: LiteRT refuses the model.
    """

    def __init__(self, path: Path, inputs: Sequence[Input], threads: int, flags: int | None = None) -> None:
        self._path = path
        self._library = _library()
        self._made: list[tuple[str, c_void_p]] = []
        self._kept: list[Any] = []  # what the library points to
        try:
            with captured_native_output():
                self._compile(threads, flags)
                self._inputs = self._buffers("Input")
                self._outputs = self._buffers("Output")
            self._fill(inputs)
        except BaseException:
            self.close()
            raise

    def run(self) -> None:
        """Run the model; while profiling, what runs is recorded."""
        self._call(
            "LiteRtRunCompiledModel",
            self._model,
            c_size_t(0),
            c_size_t(len(self._inputs)),
            self._inputs,
            c_size_t(len(self._outputs)),
            self._outputs,
        )

    def profile(self) -> list[OperatorTime]:
        """Run the model once under the profiler and return its operators in the order in which they ran."""
        self._call("LiteRtResetProfiler", self._profiler)
        self._call("LiteRtStartProfiler", self._profiler)
        try:
            self.run()
        finally:
            self._call("LiteRtStopProfiler", self._profiler)
        count = c_int()
        self._call("LiteRtGetNumProfilerEvents", self._profiler, byref(count))
        events = (_Event * max(1, count.value))()
        self._call("LiteRtGetProfilerEvents", self._profiler, count, events)
        return [
            OperatorTime(event.tag.decode(errors="replace"), _index(event), event.elapsed_us)
            for event in events[: count.value]
            if event.type in (OPERATOR, DELEGATED_OPERATOR) and event.tag
        ]

    def output(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return the first output of the last run."""
        values = np.empty(shape, np.float32)
        self._copy(self._outputs[0], values, LOCK_TO_READ)
        return values

    def close(self) -> None:
        """Free everything, what was made last first."""
        with captured_native_output():
            while self._made:
                kind, handle = self._made.pop()
                getattr(self._library, f"LiteRtDestroy{kind}")(handle)

    def _compile(self, threads: int, flags: int | None) -> None:
        environment = self._make("Environment", "CreateEnvironment", c_int(0), None)
        model = self._make("Model", "CreateModelFromFile", environment, str(self._path).encode())
        options = self._make("Options", "CreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, c_int(CPU))
        self._add(options, "runtime_options_string", "enable_profiling = true\n")
        self._add(options, "xnnpack", f"num_threads = {threads}\n" + ("" if flags is None else f"flags = {flags}\n"))
        self._model = self._make("CompiledModel", "CreateCompiledModel", environment, model, options)
        self._environment = environment
        self._profiler = c_void_p()  # the compiled model's own
        self._call("LiteRtCompiledModelGetProfiler", self._model, byref(self._profiler))
        self._signature = c_void_p()
        self._call("LiteRtGetModelSignature", model, c_size_t(0), byref(self._signature))

    def _add(self, options: c_void_p, kind: str, text: str) -> None:
        """Add options that are given as a text, which stays ours."""
        payload, keep = ctypes.create_string_buffer(text.encode()), ctypes.CFUNCTYPE(None, c_void_p)(lambda _: None)
        self._kept += [payload, keep]
        made = c_void_p()
        self._call("LiteRtCreateOpaqueOptions", kind.encode(), ctypes.cast(payload, c_void_p), keep, byref(made))
        self._call("LiteRtAddOpaqueOptions", options, made)

    def _buffers(self, side: str) -> Any:
        """Return an array of buffers for all inputs or outputs of the signature."""
        count = c_size_t()
        self._call(f"LiteRtGetNumSignature{side}s", self._signature, byref(count))
        return (c_void_p * count.value)(*(self._buffer(side, i).value for i in range(count.value)))

    def _buffer(self, side: str, index: int) -> c_void_p:
        tensor, needs, kind = c_void_p(), c_void_p(), ctypes.create_string_buffer(TENSOR_TYPE_BYTES)
        place = c_size_t(index)
        self._call(f"LiteRtGetSignature{side}TensorByIndex", self._signature, place, byref(tensor))
        self._call("LiteRtGetRankedTensorType", tensor, kind)
        self._call(f"LiteRtGetCompiledModel{side}BufferRequirements", self._model, c_size_t(0), place, byref(needs))
        return self._make("TensorBuffer", "CreateManagedTensorBufferFromRequirements", self._environment, kind, needs)

    def _fill(self, inputs: Sequence[Input]) -> None:
        """Fill the buffers of the signature, which has an order of its own: inputs are told by their sizes."""
        left = [np.ascontiguousarray(values) for values in inputs]
        for buffer in self._inputs:
            size = self._size(c_void_p(buffer))
            place = next((i for i, values in enumerate(left) if values.nbytes == size), 0)
            if not left:
                raise ModelFileError(expected=f"{len(inputs)} inputs in '{self._path}'", found=len(self._inputs))
            self._copy(buffer, left.pop(place), LOCK_TO_WRITE)

    def _size(self, buffer: c_void_p) -> int:
        size = c_size_t()
        self._call("LiteRtGetTensorBufferPackedSize", buffer, byref(size))
        return size.value

    def _copy(self, buffer: int, values: Input, mode: int) -> None:
        handle, memory = c_void_p(buffer), c_void_p()
        if (size := self._size(handle)) != values.nbytes:
            raise ModelFileError(expected=f"a tensor of {values.nbytes} bytes in '{self._path}'", found=size)
        self._call("LiteRtLockTensorBuffer", handle, byref(memory), c_int(mode))
        ours, theirs = c_void_p(values.ctypes.data), memory
        ctypes.memmove(*((theirs, ours) if mode == LOCK_TO_WRITE else (ours, theirs)), values.nbytes)
        self._call("LiteRtUnlockTensorBuffer", handle)

    def _make(self, kind: str, function: str, *arguments: Any) -> c_void_p:
        handle = c_void_p()
        self._call(f"LiteRt{function}", *arguments, byref(handle))
        self._made.append((kind, handle))
        return handle

    def _call(self, function: str, *arguments: Any) -> None:
        status = getattr(self._library, function)(*arguments)
        if status:
            raise ModelFileError(f"LiteRT cannot profile '{self._path}': {function} answers {status}")


def _library() -> ctypes.CDLL:
    found = require("ai_edge_litert.interpreter").__file__
    installed = _version()
    library = Path(str(found)).with_name(LIBRARY)
    if not installed.startswith(tuple(f"{tried}." for tried in TRIED)) or not library.exists():
        raise MissingDependencyError(
            f"this needs {PACKAGE} {' or '.join(TRIED)} with its {LIBRARY}, whose profiler it reads, found "
            f"{installed or 'none'}; run: pip install '{PACKAGE}=={TRIED[-1]}.*'"
        )
    return ctypes.CDLL(str(library))


def _version() -> str:
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return ""


def _index(event: _Event) -> int | None:
    return int(event.index) if event.type == OPERATOR else None
