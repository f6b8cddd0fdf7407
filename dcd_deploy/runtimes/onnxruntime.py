"""Models run by onnxruntime on the CPU."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dcd_deploy.artifacts import NCHW, TensorSpec
from dcd_deploy.errors import ModelFileError, shown
from dcd_deploy.files import existing_file, suffix_of
from dcd_deploy.optional import require
from dcd_deploy.runtimes.session import Array, Input, check_count, check_threads

DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}
ERRORS_ONLY = 3
X86_ALONE = "com.microsoft.nchwc"  # the domain of operators that onnxruntime has on x86 alone
OTHER_BLOCKS = "NCHWc block"  # what they say of maps that do not fit the processor's blocks of channels
ELSEWHERE = re.compile(r'External data path does not exist: "([^"]+)"')


class OnnxRuntimeSession:
    """An ONNX model, from a file or from bytes, opened with ``threads`` threads (0: as many as there are cores).

    Without ``blocked`` maps stay in the plain layout NCHW, as on machines for which onnxruntime has no blocked one.
    With a ``profile_prefix`` the runtime's profiler is on, and writes into a file whose path begins so.

    Raises:
        InputFileError: there is no such file.
        ModelFileError: onnxruntime cannot open it, or has no input.
    """

    runtime = "onnxruntime"

    def __init__(
        self, model: Path | bytes, threads: int = 0, *, blocked: bool = True, profile_prefix: str = ""
    ) -> None:
        if isinstance(model, Path):
            existing_file(model, _kind(model))
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # or it reports home from Linux too, in threads of its own
        runtime = require("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = check_threads(threads)
        options.log_severity_level = ERRORS_ONLY
        if not blocked:  # the blocked layout is what the level above this one adds
            options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        self.version = str(runtime.__version__)
        if profile_prefix:
            options.enable_profiling = True
            options.profile_file_prefix = profile_prefix
        source = str(model) if isinstance(model, Path) else model
        try:
            self._session = runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
            self.inputs = tuple(_spec(value) for value in self._session.get_inputs())
            self.outputs = tuple(_spec(value) for value in self._session.get_outputs())
            self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        except Exception as error:  # onnxruntime's exceptions have no public base; a name may be no text
            raise ModelFileError(
                expected=f"{_kind(model)} at {_where(model)}",
                but=f"onnxruntime says: {_first_line(error)}",
                advice=advice(str(error)),
            ) from error
        if not self.inputs or not self.outputs:
            raise ModelFileError(expected=f"a model with an input and an output at {_where(model)}", found="none")

    def end_profiling(self) -> str:
        """Return the path of the profile, after which nothing is written into it."""
        return str(self._session.end_profiling())

    def prepare(self, *inputs: Input) -> Callable[[], object]:
        """Return what runs the model on the inputs."""
        check_count(inputs, self.inputs)
        names = [output.name for output in self.outputs]
        feed = {each.name: values for each, values in zip(self.inputs, inputs)}
        return lambda: self._session.run(names, feed)

    def run(self, images: Input) -> Array:
        """Return the first output for ``images``."""
        return self.run_all([images])[0]

    def run_all(self, inputs: Sequence[Input]) -> tuple[Array, ...]:
        """Return all outputs for all inputs."""
        run = self.prepare(*inputs)
        try:
            outputs: Any = run()
        except Exception as error:  # as above
            given = " and ".join(f"shape {values.shape} and type {values.dtype}" for values in inputs)
            raise ModelFileError(
                f"the model cannot run on an input of {given} (it takes {_shapes(self.inputs)}): {_first_line(error)}"
                f"{_other_processor(str(error))}"
            ) from error
        return tuple(outputs)


def advice(message: str) -> str:
    """Say what to do about a file that onnxruntime does not open, by what it says."""
    if X86_ALONE in message:
        return "the file was made for onnxruntime on x86; export it for this machine, or with `target` portable"
    if missing := ELSEWHERE.search(message):
        name = shown(re.split(r"[/\\]", missing[1])[-1], 100)
        return f"its weights are in another file, which was left behind: put '{name}' beside it"
    return "fetch or export the file again"


def _other_processor(message: str) -> str:
    """Say what to do about a file with operators in blocks that are not this processor's, if that is the error."""
    if OTHER_BLOCKS not in message:
        return ""
    return (
        "; the file was made for processors whose blocks have other channels than this one's (16 with AVX-512, 8 "
        "without); export it anew, or with `target` portable"
    )


def _spec(value: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    layout = NCHW if len(shape) == 4 else None  # ONNX has no other
    return TensorSpec(value.name, shape, DTYPES.get(value.type, value.type), layout)


def _shapes(tensors: tuple[TensorSpec, ...]) -> str:
    return " and ".join(str(tensor.shape) for tensor in tensors)


def _kind(model: Path | bytes) -> str:
    return "an .ort model" if isinstance(model, Path) and suffix_of(model) == ".ort" else "an ONNX model"


def _where(model: Path | bytes) -> str:
    return f"'{model}'" if isinstance(model, Path) else "the exported graph"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return shown(lines[0].removeprefix("[ONNXRuntimeError] : "), 300) if lines else type(error).__name__
