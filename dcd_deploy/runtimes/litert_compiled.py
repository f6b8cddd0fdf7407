"""Models run by LiteRT's CompiledModel, with XNNPACK told to take kernels that are computed.

The delegate takes FULLY_CONNECTED with a computed weight only where a flag says so. Python's ``Interpreter`` has no way
to set it; ``CompiledModel`` has. Without it TFLite's plain kernel computes the same, two to three times slower.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from dcd_deploy.artifacts import TensorSpec
from dcd_deploy.errors import MissingDependencyError, ModelFileError
from dcd_deploy.native_output import captured_native_output
from dcd_deploy.optional import require
from dcd_deploy.runtimes.litert import LiteRtSession, as_torch, installed_version, said
from dcd_deploy.runtimes.session import Array, Input, check_threads

PACKAGE = "ai-edge-litert"
TRIED = ("2.2", "2.3")  # the flags' numbers are those of the delegate's header, which another version may change
QS8, QU8, FORCE_FP16, DYNAMIC_FULLY_CONNECTED = 1, 2, 4, 8
CPUINFO, GPU_LIBRARY = Path("/proc/cpuinfo"), "libLiteRtWebGpuAccelerator.so"
FLAGS = QS8 | QU8 | DYNAMIC_FULLY_CONNECTED  # the first two are the delegate's defaults, which flags replace
IN_HALF = FLAGS | FORCE_FP16  # computes in half precision, also where the core emulates it
HOW_TO_SET = {  # as google-ai-edge/LiteRT has it, in August 2026
    "Python": f"CompiledModel.from_file(path, options=Options(cpu_options=CpuOptions(xnnpack_flags={FLAGS})))",
    "Kotlin": "CompiledModel.Options(Accelerator.CPU).apply { cpuOptions = CompiledModel.CpuOptions(xnnPackFlags = "
    f"{FLAGS}) }}",
    "C++": f"auto& cpu = *options.GetCpuOptions(); cpu.SetXNNPackFlags({FLAGS});",
    "C": f"LrtSetCpuOptionsXNNPackFlags(cpu_options, {FLAGS});",
    "Swift": 'try options.addOpaqueOptions(OpaqueOptions(identifier: "xnnpack", payload: strdup("flags = '
    f'{FLAGS}\\n"), destructor: {{ free($0) }}))',
    "C, the delegate": "TfLiteXNNPackDelegateOptions.flags |= TFLITE_XNNPACK_DELEGATE_FLAG_DYNAMIC_FULLY_CONNECTED",
}


class LiteRtCompiledSession(LiteRtSession):
    """A TFLite model, compiled with the flag, for ``threads`` threads (0: as many as there are cores).

    Raises:
        InputFileError: there is no such file.
        MissingDependencyError: ai-edge-litert is not installed, or in a version that was not tried.
        ModelFileError: the file is damaged.
    """

    def __init__(self, model: Path | bytes, threads: int = 0, flags: int = FLAGS) -> None:
        if (lack := lacking()) is not None:
            raise MissingDependencyError(lack)
        self._threads = check_threads(threads) or os.cpu_count() or 1
        self._flags = flags
        super().__init__(model, 1, xnnpack=False)
        self.runtime = f"{self.runtime} CompiledModel"

    def _load(self, content: bytes) -> None:
        """Compile; the interpreter, opened beside it and never run, says what goes in and out, and in which order."""
        made = self._made = _Made(content, self._threads, self._flags)
        signature = self.interpreter.get_signature_runner(made.signature)
        self._named = [_names(side()) for side in (signature.get_input_details, signature.get_output_details)]
        for name, tensor in signature.get_input_details().items():  # the library has remarks on the first one written
            made.entries[name].write(np.zeros(tensor["shape"], tensor["dtype"]))

    def run_all(self, inputs: Sequence[Input]) -> tuple[Array, ...]:
        """Return all outputs for all inputs."""
        run = self.prepare(*inputs)
        try:
            run()
            buffers = (self._made.answers[self._named[1][index]] for index in self._outputs)
            return tuple(_read(buffer, spec) for buffer, spec in zip(buffers, self.outputs))
        except Exception as error:
            raise ModelFileError(f"the model cannot run on this input: {self.runtime} says: {said(error)}") from error

    def _set(self, index: int, values: Input) -> None:
        self._made.entries[self._named[0][index]].write(values)

    def _runner(self) -> Callable[[], object]:
        return self._made.run


class _Made:
    """What the library made, and the bytes in which it reads the weights, as long as a session or a run needs them."""

    def __init__(self, content: bytes, threads: int, flags: int) -> None:
        litert = require("ai_edge_litert.compiled_model")
        cpu = litert.CpuOptions(num_threads=threads, xnnpack_flags=flags)
        options = litert.Options(hardware_accelerators=litert.HardwareAccelerator.CPU, cpu_options=cpu)
        self.content = content
        self.model: Any = litert.CompiledModel.from_buffer(content, options=options)
        ((self.signature, names),) = self.model.get_signature_list().items()
        self.entries = {each: self.model.create_input_buffer_by_name(self.signature, each) for each in names["inputs"]}
        self.answers = {
            each: self.model.create_output_buffer_by_name(self.signature, each) for each in names["outputs"]
        }
        self._sides = list(self.entries.values()), list(self.answers.values())
        weakref.finalize(self, _release, vars(self))

    def run(self) -> None:
        """Compute the answers for the entries."""
        self.model.run_by_index(0, *self._sides)


def _release(held: dict[str, Any]) -> None:
    """Let go of what the library made, the last first, without the remarks that it has on it."""
    with captured_native_output():
        while held:
            held.popitem()


def lacking() -> str | None:
    """Return why models cannot be opened so here, and what to do; None where they can."""
    try:
        with captured_native_output():
            module = require("ai_edge_litert.compiled_model")
    except MissingDependencyError as error:
        return str(error)
    found = installed_version(PACKAGE)
    if not found.startswith(tuple(f"{tried}." for tried in TRIED)) or not hasattr(module, "CpuOptions"):
        return (
            f"expected {PACKAGE} {' or '.join(TRIED)}, whose CompiledModel takes XNNPACK's flags as they were tried, "
            f"found {found}; run: pip install '{PACKAGE}=={TRIED[-1]}.*'"
        )
    return _too_old_for(Path(str(module.__file__)).with_name(GPU_LIBRARY))


def _too_old_for(library: Path) -> str | None:
    """Return what an ARM core of 2014 lacks: CompiledModel loads the library for GPUs, whoever asks for the CPU alone.

    That was built for cores with atomic instructions (ARMv8.1), and ends the process on others.
    """
    with suppress(OSError):
        texts = [
            line
            for line in CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
            if line.startswith("Features")
        ]
        if library.exists() and not all("atomics" in text.split() for text in texts):
            return (
                f"expected a processor with atomic instructions (ARMv8.1), which '{library}' needs and CompiledModel "
                "loads, found one without; move that file away: the CPU does not need it"
            )
    return None


def _names(details: dict[str, Any]) -> dict[int, str]:
    """Return the signature's name of each tensor, by the tensor's number."""
    return {int(tensor["index"]): name for name, tensor in details.items()}


def _read(buffer: Any, spec: TensorSpec) -> Array:
    shape = [size or 1 for size in spec.shape]
    values: Array = buffer.read(int(np.prod(shape)), np.dtype(spec.dtype)).reshape(shape)
    return as_torch(values, spec)
