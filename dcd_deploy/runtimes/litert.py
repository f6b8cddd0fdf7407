"""Models run by TFLite's interpreter: ai-edge-litert, or the older tflite-runtime.

Images go in as (N, 3, H, W), as with every runtime here; a file whose input is (N, H, W, 3) gets them transposed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.artifacts import TensorSpec
from dcd_deploy.errors import MissingDependencyError, ModelFileError
from dcd_deploy.files import existing_file
from dcd_deploy.native_output import captured_native_output
from dcd_deploy.optional import require
from dcd_deploy.runtimes.flatbuffer import read_texts

INTERPRETERS = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")
MIN_RUNTIME = "min_runtime_version"  # what the converter notes in the file


class LiteRtSession:
    """A TFLite model, from a file or from bytes, opened with ``threads`` threads (0: as many as there are cores).

    ``xnnpack`` says whether the XNNPACK delegate, which is the default of TFLite on every CPU, may take nodes.

    Raises:
        InputFileError: there is no such file.
        MissingDependencyError: neither interpreter is installed.
        ModelFileError: the file is damaged, or the interpreter too old for it.
    """

    def __init__(self, model: Path | bytes, threads: int = 0, *, xnnpack: bool = True) -> None:
        content = existing_file(model, "a TFLite model").read_bytes() if isinstance(model, Path) else model
        where = str(model) if isinstance(model, Path) else "the converted model"
        self.metadata = read_texts(content, where)
        runtime = interpreter_module()
        self.runtime = runtime.__name__.partition(".")[0].replace("_", "-")
        self.version = _version(self.runtime)
        resolvers = runtime.OpResolverType
        resolver = resolvers.AUTO if xnnpack else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        try:
            with captured_native_output():
                self.interpreter = runtime.Interpreter(
                    model_content=content,
                    num_threads=threads or os.cpu_count() or 1,
                    experimental_op_resolver_type=resolver,
                )
                self.interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelFileError(self._refusal(where, error)) from error
        self.inputs = tuple(_spec(tensor) for tensor in self.interpreter.get_input_details())
        self.outputs = tuple(_spec(tensor) for tensor in self.interpreter.get_output_details())
        if not self.inputs or not self.outputs:
            raise ModelFileError(f"expected a model with an input and an output at '{where}', found none")
        self._input = int(self.interpreter.get_input_details()[0]["index"])
        self._output = int(self.interpreter.get_output_details()[0]["index"])

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the first output for ``images`` (N, 3, H, W)."""
        self.prepare(images)()
        found: NDArray[np.float32] = self.interpreter.get_tensor(self._output)
        return found

    def prepare(self, images: NDArray[np.float32]) -> Callable[[], object]:
        """Set ``images`` as the input and return what runs the model on them, and does nothing else."""
        wanted = self.inputs[0].shape
        given = laid_out(images, wanted)
        if given.shape != wanted or images.dtype != np.float32:
            raise ModelFileError(
                f"the model cannot run on an input of shape {given.shape} and type {images.dtype} "
                f"(it takes {wanted} of float32)"
            )
        self.interpreter.set_tensor(self._input, np.ascontiguousarray(given))
        run: Callable[[], object] = self.interpreter.invoke
        return run

    def _refusal(self, where: str, error: Exception) -> str:
        text = " ".join(str(error).split())[:300]
        needed = self.metadata.get(MIN_RUNTIME)
        too_old = "builtin opcode" in text or "Didn't find op" in text
        advice = f"; the file needs TFLite {needed} or later" if too_old and needed else ""
        return f"expected a TFLite model at '{where}', but {self.runtime} says: {text}{advice}"


def laid_out(images: NDArray[np.float32], shape: tuple[int | None, ...]) -> NDArray[np.float32]:
    """Return images (N, 3, H, W) in the layout of an input of this shape."""
    return images.transpose(0, 2, 3, 1) if is_channels_last(shape) and images.ndim == 4 else images


def is_channels_last(shape: tuple[int | None, ...]) -> bool:
    """Whether an input of this shape is (N, H, W, 3)."""
    return len(shape) == 4 and shape[3] == 3 and shape[1] != 3


def interpreter_module() -> ModuleType:
    """Return the module of the interpreter that is installed, the newer one if both are."""
    missing = None
    for name in INTERPRETERS:
        try:
            return require(name)
        except MissingDependencyError as error:
            missing = missing or error
    assert missing is not None
    raise missing


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # built from source, without the package's description
        return "unknown"


def _spec(tensor: dict[str, Any]) -> TensorSpec:
    shape = tuple(int(size) for size in tensor["shape"])
    name = str(tensor["name"]).removeprefix("serving_default_").partition(":")[0]
    return TensorSpec(name, shape, np.dtype(tensor["dtype"]).name)
