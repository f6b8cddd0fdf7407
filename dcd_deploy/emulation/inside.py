"""The program that runs under emulation: opens one model, then does what each line of standard input asks.

    python3 inside.py RUNTIME MODEL FOLDER

It needs numpy and the runtime alone, and no other file of this package. A line is a JSON object; each is answered with
one on standard output. Arrays lie in FOLDER.

    {"task": "run"}               input_0.npy, … → output_0.npy, …
    {"task": "count", "runs": 3}  runs the model on them, with a system call before each run and after the last
    {"task": "end_profile"}       the runtime's profile → profile*.json
    {"task": "quit"}
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

COMPILED_FLAGS = 11  # ``runtimes.litert_compiled.FLAGS``, which a test compares with it
DIMENSIONS = 16  # of an output, at most

Array = Any
Run = Callable[[], object]


class OnnxRuntime:
    """An ONNX model; with a ``profile`` the runtime's profiler is on, and writes into a file whose path begins so."""

    def __init__(self, path: str, *, blocked: bool = True, profile: str = "") -> None:
        onnxruntime = import_module("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        if not blocked:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        if profile:
            options.enable_profiling = True
            options.profile_file_prefix = profile
        self.version = str(onnxruntime.__version__)
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._found: list[Array] = []

    def prepare(self, inputs: list[Array]) -> Run:
        """Return what runs the model on the inputs."""
        names = [output.name for output in self._session.get_outputs()]
        feed = {each.name: values for each, values in zip(self._session.get_inputs(), inputs, strict=True)}

        def run() -> None:
            self._found = self._session.run(names, feed)

        return run

    def outputs(self) -> list[Array]:
        """Return the outputs of the last run."""
        return self._found

    def end_profile(self) -> None:
        """Let the profiler write all that it has."""
        self._session.end_profiling()


class LiteRt:
    """A TFLite model."""

    def __init__(self, path: str, *, xnnpack: bool = True) -> None:
        litert = import_module("ai_edge_litert.interpreter")
        resolvers = litert.OpResolverType
        resolver = resolvers.AUTO if xnnpack else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        self.version = version("ai-edge-litert")
        self._interpreter = litert.Interpreter(model_path=path, num_threads=1, experimental_op_resolver_type=resolver)
        self._interpreter.allocate_tensors()

    def prepare(self, inputs: list[Array]) -> Run:
        """Set the inputs, and return what runs the model."""
        for entry, values in zip(self._interpreter.get_input_details(), inputs, strict=True):
            self._interpreter.set_tensor(entry["index"], values)
        run: Run = self._interpreter.invoke
        return run

    def outputs(self) -> list[Array]:
        """Return the outputs of the last run."""
        return [self._interpreter.get_tensor(answer["index"]) for answer in self._interpreter.get_output_details()]


class LiteRtCompiled:
    """A TFLite model in CompiledModel, with the flags of XNNPACK that ``runtimes.litert_compiled`` sets."""

    def __init__(self, path: str) -> None:
        litert = import_module("ai_edge_litert.compiled_model")
        interpreter = import_module("ai_edge_litert.interpreter").Interpreter(model_path=path)
        self.version = version("ai-edge-litert")
        options = litert.Options(
            hardware_accelerators=litert.HardwareAccelerator.CPU,
            cpu_options=litert.CpuOptions(num_threads=1, xnnpack_flags=COMPILED_FLAGS),
        )
        self._model = litert.CompiledModel.from_file(path, options=options)
        ((key, names),) = self._model.get_signature_list().items()
        signature = interpreter.get_signature_runner(key)
        self._entries = {name: self._model.create_input_buffer_by_name(key, name) for name in names["inputs"]}
        self._answers = {name: self._model.create_output_buffer_by_name(key, name) for name in names["outputs"]}
        self._inputs = self._in_order(interpreter.get_input_details(), signature.get_input_details())
        self._outputs = self._in_order(interpreter.get_output_details(), signature.get_output_details())

    def prepare(self, inputs: list[Array]) -> Run:
        """Set the inputs, and return what runs the model."""
        for (name, _), values in zip(self._inputs, inputs, strict=True):
            self._entries[name].write(values)
        entries, answers = list(self._entries.values()), list(self._answers.values())
        return lambda: self._model.run_by_index(0, entries, answers)

    def outputs(self) -> list[Array]:
        """Return the outputs of the last run."""
        found = ((self._answers[name], shape) for name, shape in self._outputs)
        return [buffer.read(int(np.prod(shape)), np.float32).reshape(shape) for buffer, shape in found]

    @staticmethod
    def _in_order(tensors: list[Any], named: dict[str, Any]) -> list[tuple[str, Any]]:
        """Return the signature's names and the shapes of tensors, in the file's order."""
        names = {tensor["index"]: name for name, tensor in named.items()}
        return [(names[tensor["index"]], tensor["shape"]) for tensor in tensors]


class ExecuTorch:
    """An ExecuTorch program, by the library that the variable DCD_EXECUTORCH names (``executorch.cpp``)."""

    def __init__(self, path: str) -> None:
        self.version = version("executorch")
        self._library = ctypes.CDLL(os.environ["DCD_EXECUTORCH"])
        self._entries = self._checked(self._library.dcd_open(os.fsencode(path)), "open")
        self._answers = 0

    def prepare(self, inputs: list[Array]) -> Run:
        """Set the inputs, and return what runs the program."""
        if len(inputs) != self._entries:
            raise ValueError(f"the program takes {self._entries} inputs, not {len(inputs)}")
        for i, values in enumerate(inputs):
            given = np.ascontiguousarray(values, np.float32)
            self._checked(
                self._library.dcd_input(i, given.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(given.size)), "input"
            )
        return self._run

    def outputs(self) -> list[Array]:
        """Return the outputs of the last run."""
        return [self._output(i) for i in range(self._answers)]

    def _run(self) -> None:
        self._answers = self._checked(self._library.dcd_run(), "run")

    def _output(self, which: int) -> Array:
        sizes = (ctypes.c_int * DIMENSIONS)()
        count = self._checked(self._library.dcd_sizes(which, sizes, DIMENSIONS), "output")
        found = np.empty(tuple(sizes[:count]), np.float32)
        self._library.dcd_output(which, found.ctypes.data_as(ctypes.c_void_p))
        return found

    @staticmethod
    def _checked(answer: int, what: str) -> int:
        if answer < 0:
            raise RuntimeError(f"ExecuTorch, {what}: error {-answer}")
        return answer


OPENERS: dict[str, Callable[[str], OnnxRuntime | LiteRt | LiteRtCompiled | ExecuTorch]] = {
    "onnxruntime": OnnxRuntime,
    "onnxruntime-plain": partial(OnnxRuntime, blocked=False),
    "onnxruntime-ort": OnnxRuntime,
    "onnxruntime-profiled": partial(OnnxRuntime, profile="profile"),
    "litert": LiteRt,
    "litert-compiled": LiteRtCompiled,
    "litert-plain": partial(LiteRt, xnnpack=False),
    "executorch": ExecuTorch,
}


def mark() -> None:
    """Make the system call that the counting plugin waits for, and nothing else here makes."""
    os.sched_get_priority_max(os.SCHED_IDLE)


def do(request: dict[str, Any], model: OnnxRuntime | LiteRt | LiteRtCompiled | ExecuTorch, folder: Path) -> None:
    """Do what a request asks, other than to quit."""
    if request["task"] == "end_profile":
        assert isinstance(model, OnnxRuntime)
        model.end_profile()
        return
    count = len(list(folder.glob("input_*.npy")))
    run = model.prepare([np.load(folder / f"input_{i}.npy", allow_pickle=False) for i in range(count)])
    run()  # allocates what later runs use again
    if request["task"] == "count":
        for _ in range(request["runs"] + 1):  # the first switches the counting on, and warms the modelled cache
            mark()
            run()
        mark()
    for i, values in enumerate(model.outputs()):
        np.save(folder / f"output_{i}.npy", values)


def main() -> None:
    """Open the model, say so, and do what is asked."""
    runtime, path, folder = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a runtime prints is no answer

    def answer(**content: object) -> None:
        print(json.dumps(content), file=answers, flush=True)

    try:
        os.chdir(folder)  # where a profile goes
        model = OPENERS[runtime](path)
        answer(opened=model.version)
        for line in sys.stdin:
            request = json.loads(line)
            if request["task"] == "quit":
                break
            do(request, model, Path(folder))
            answer(done=request["task"])
    except Exception as error:  # noqa: BLE001 - the other side says it to the user
        answer(error=f"{type(error).__name__}: {error}"[:500])


if __name__ == "__main__":
    main()
