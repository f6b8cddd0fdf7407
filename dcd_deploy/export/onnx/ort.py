"""From a deploy form to a verified .ort file: the ONNX graph, optimised and saved in onnxruntime's own format.

deploy form → ONNX, verified (``build_onnx``) → .ort          checked, 5e-5

Reduced builds of onnxruntime, as apps on phones have them, read this format alone, and need only the operators that it
uses. They are not optimised again when they are opened, so that the optimisations made here have to suit the machine:
the layout in blocks of channels, which is x86's alone, is left out unless the target is x86. Metadata stay.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from dcd_deploy.artifacts import ModelCard
from dcd_deploy.errors import ExportError
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.checked_reference import CheckedReference
from dcd_deploy.export.onnx.build import BuiltOnnx, build_onnx
from dcd_deploy.export.onnx.required_operators import required_operators
from dcd_deploy.lowering.targets import ONNXRUNTIME_X86
from dcd_deploy.progress import Progress, silent
from dcd_deploy.runtimes.onnxruntime import ERRORS_ONLY, X86_ALONE, OnnxRuntimeSession


@dataclass(frozen=True)
class BuiltOrt(BuiltOnnx):
    """A verified ONNX graph that is saved in onnxruntime's format; ``operators`` are those that a build needs."""

    operators: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """The operators that a reduced build of onnxruntime needs, as its build script takes them."""
        return {"required_operators": self.operators}

    def content(self, card: ModelCard) -> bytes:
        """Return the file, with its description inside."""
        return to_ort(super().content(card), self.config.target)


def build_ort(
    made: Callable[[], Iterator[tuple[str, onnx.ModelProto]]],
    lowering: dict[str, str],
    notes: tuple[str, ...],
    config: BuildConfig,
    checked: Callable[[], CheckedReference],
    progress: Progress = silent,
) -> BuiltOrt:
    """Build the ONNX graph, save it as .ort, and verify that too.

    Raises:
        ExportError, VerificationError: a stage refused the network, or computed something else.
    """
    built = build_onnx(made, lowering, notes, config, checked, progress)
    with progress("save as .ort"):
        content = to_ort(built.model.SerializeToString(), config.target)
        operators = required_operators(content)
    if config.target != ONNXRUNTIME_X86.name and any(line.startswith(X86_ALONE) for line in operators):
        raise ExportError(
            expected="operators that every processor has",
            but="onnxruntime made some that x86 has alone",
            advice="choose `to` onnx, or `target` onnxruntime-x86",
        )
    with progress("verify .ort"):
        passed = replace(checked(), report=built.report).compared(
            ".ort", OnnxRuntimeSession(content).run_all, config.tolerance, config.batch
        )
    sizes = {**built.sizes, config.weights: len(content)}
    facts = {field.name: getattr(built, field.name) for field in fields(built)}
    return BuiltOrt(**{**facts, "report": passed.report, "sizes": sizes}, operators=operators)


def to_ort(model: bytes, target: str) -> bytes:
    """Return an ONNX model in onnxruntime's format, optimised for the processors of a target.

    Raises:
        ExportError: onnxruntime refuses it.
    """
    level = onnxruntime.GraphOptimizationLevel
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.ort")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        options.graph_optimization_level = (
            level.ORT_ENABLE_ALL if target == ONNXRUNTIME_X86.name else level.ORT_ENABLE_EXTENDED
        )
        options.optimized_model_filepath = str(path)
        options.add_session_config_entry("session.save_model_format", "ORT")
        try:
            onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            return path.read_bytes()
        except Exception as error:  # onnxruntime's exceptions have no public base
            raise ExportError(
                expected="a graph that onnxruntime saves in its format", but=f"it says: {str(error)[:300]}"
            ) from error
