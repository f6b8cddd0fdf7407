"""Models run by TFLite's interpreter: ai-edge-litert, or the older tflite-runtime.

Maps go in and come out as (N, C, H, W), as with every runtime here; a file that has (N, H, W, C) gets them transposed.
Which of the two it has the description inside says; of a file without one, (N, H, W, 3) is taken for pictures.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from dcd_deploy.artifacts import METADATA_KEY, NHWC, TensorSpec, guessed_layout
from dcd_deploy.card_json import read_card
from dcd_deploy.errors import MissingDependencyError, ModelFileError, shown
from dcd_deploy.files import existing_file
from dcd_deploy.native_output import captured_native_output
from dcd_deploy.optional import require
from dcd_deploy.runtimes.flatbuffer import read_texts
from dcd_deploy.runtimes.session import Array, Input, check_count, check_threads
from dcd_deploy.runtimes.tflite_structure import check_structure

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
        check_structure(content, where)
        threads = check_threads(threads)
        runtime = interpreter_module()
        self.runtime = runtime.__name__.partition(".")[0].replace("_", "-")
        self.version = installed_version(self.runtime)
        resolvers = runtime.OpResolverType
        resolver = resolvers.AUTO if xnnpack else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        try:
            with captured_native_output():
                self.interpreter = runtime.Interpreter(
                    model_content=content,
                    num_threads=threads or os.cpu_count() or 1,
                    experimental_op_resolver_type=resolver,
                )
                self._load(content)
            entries, answers = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        except Exception as error:  # what a damaged file makes it raise has no common base
            raise ModelFileError(self._refusal(where, error)) from error
        layouts = _layouts(self.metadata)
        self.inputs = tuple(_spec(tensor, layouts) for tensor in entries)
        self.outputs = tuple(_spec(tensor, layouts) for tensor in answers)
        if not self.inputs or not self.outputs:
            raise ModelFileError(expected=f"a model with an input and an output at '{where}'", found="none")
        self._inputs, self._outputs = ([int(tensor["index"]) for tensor in side] for side in (entries, answers))

    def run(self, images: Input) -> Array:
        """Return the first output for ``images`` (N, C, H, W)."""
        return self.run_all([images])[0]

    def run_all(self, inputs: Sequence[Input]) -> tuple[Array, ...]:
        """Return all outputs for all inputs."""
        run = self.prepare(*inputs)
        try:
            run()
            found = [self.interpreter.get_tensor(index) for index in self._outputs]
        except Exception as error:  # as below
            raise ModelFileError(f"the model cannot run on this input: {self.runtime} says: {said(error)}") from error
        return tuple(as_torch(values, spec) for values, spec in zip(found, self.outputs))

    def prepare(self, *inputs: Input) -> Callable[[], object]:
        """Set the inputs and return what runs the model on them, and does nothing else."""
        check_count(inputs, self.inputs)
        for index, values, wanted in zip(self._inputs, inputs, self.inputs):
            given = laid_out(values, wanted)
            if given.shape != wanted.shape or given.dtype != wanted.dtype:
                first = ", channels first, whatever the file has" if wanted.layout == NHWC else ""
                raise ModelFileError(
                    f"the model cannot run on an input of shape {values.shape} and type {values.dtype} "
                    f"(it takes {wanted.torch_shape} of {wanted.dtype}{first})"
                )
            self._set(index, np.ascontiguousarray(given))
        return self._runner()

    def _load(self, content: bytes) -> None:
        del content
        self.interpreter.allocate_tensors()

    def _set(self, index: int, values: Input) -> None:
        self.interpreter.set_tensor(index, values)

    def _runner(self) -> Callable[[], object]:
        run: Callable[[], object] = self.interpreter.invoke
        return run

    def _refusal(self, where: str, error: Exception) -> str:
        text = said(error)
        needed = self.metadata.get(MIN_RUNTIME)
        too_old = "builtin opcode" in text or "Didn't find op" in text
        advice = f"; the file needs TFLite {needed} or later" if too_old and needed else ""
        return f"expected a TFLite model at '{where}', but {self.runtime} says: {text}{advice}"


def said(error: Exception) -> str:
    """Return what an interpreter said, on one line."""
    return shown(" ".join(str(error).split()) or type(error).__name__, 300)


def laid_out(values: Input, spec: TensorSpec) -> Input:
    """Return values as torch has them, (N, C, H, W) where there are four dimensions, in the layout of an input."""
    return values.transpose(0, 2, 3, 1) if spec.layout == NHWC and values.ndim == 4 else values


def as_torch(values: Array, spec: TensorSpec) -> Array:
    """Return the values of an output as torch has them."""
    if spec.layout != NHWC or values.ndim != 4:
        return values
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


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


def installed_version(package: str) -> str:
    """Return the version of an installed package."""
    metadata = import_module("importlib.metadata")  # which takes as long to load as the rest of this package
    try:
        return str(metadata.version(package))
    except metadata.PackageNotFoundError:  # built from source, without the package's description
        return "unknown"


def _layouts(metadata: Mapping[str, str]) -> dict[str, str | None]:
    """Return the layout of each tensor that the file's description names."""
    text = metadata.get(METADATA_KEY)
    if text is None:
        return {}
    card = read_card(text)
    return {tensor.name: tensor.layout for tensor in (*card.inputs, *card.outputs)}


def _spec(tensor: dict[str, Any], layouts: Mapping[str, str | None]) -> TensorSpec:
    shape = tuple(int(size) for size in tensor["shape"])
    name = str(tensor["name"]).removeprefix("serving_default_").partition(":")[0]
    layout = layouts[name] if name in layouts and len(shape) == 4 else guessed_layout(shape)
    return TensorSpec(name, shape, np.dtype(tensor["dtype"]).name, layout)
