"""From the graphs that were made of a deploy form (``make``) to a verified one in memory, stage by stage.

deploy form, channels first         checked, 1e-9
  → ONNX as traced                  checked, 5e-5
  → ONNX simplified, in its dialect checked, 5e-5
  → ONNX in blocks                  checked, 5e-5; where layers are of lowering nchwc
  → ONNX with weights stored small  checked, 5e-5; where that is asked for: they are rounded in the deploy form already

Nothing here loads what makes the first three. What runs in float64 does so meanwhile; where another process makes them,
each is checked while the next is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any, ClassVar

import onnx

from dcd_deploy import __version__
from dcd_deploy.artifacts import FLOAT16, FLOAT32, INT8, METADATA_KEY, ModelCard
from dcd_deploy.errors import ExportError, shown
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.built_model import BuiltModel
from dcd_deploy.export.checked_reference import CheckedReference
from dcd_deploy.export.onnx.file import graph_stats
from dcd_deploy.export.onnx.float16 import half_graph
from dcd_deploy.export.onnx.int8 import int8_graph
from dcd_deploy.export.onnx.mobile import check_one_partition
from dcd_deploy.export.onnx.quantised.layer_noise import LayerNoise
from dcd_deploy.export.onnx.store import SCALE_BYTES, onnx_weights, store_onnx
from dcd_deploy.export.runtime_needs import needs_of
from dcd_deploy.export.stats import file_sizes
from dcd_deploy.progress import Progress, silent
from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession


@dataclass(frozen=True)
class BuiltOnnx(BuiltModel):
    """A verified ONNX graph."""

    model: onnx.ModelProto
    layer_noise: tuple[LayerNoise, ...] = ()  # of one that computes in int8

    packages: ClassVar[tuple[str, ...]] = ("torch", "onnx", "onnxsim", "onnxruntime", "numpy")

    @property
    def facts(self) -> dict[str, Any]:
        """What the sidecar says about this format alone."""
        return {"layer_noise": [asdict(each) for each in self.layer_noise]} if self.layer_noise else {}

    @property
    def opset(self) -> int:  # type: ignore[override]  # here the user's choice
        """That of the file."""
        return self.config.opset

    @property
    def runtime(self) -> str | None:
        """The one that was asked for."""
        return self.config.runtime

    def content(self, card: ModelCard) -> bytes:
        """Return the file, with its description inside."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        model.producer_name, model.producer_version = "dcd-deploy", __version__
        onnx.helper.set_model_props(model, {METADATA_KEY: card.to_json()})
        serialised: bytes = model.SerializeToString()
        return serialised


def build_onnx(
    made: Callable[[], Iterator[tuple[str, onnx.ModelProto]]],
    lowering: dict[str, str],
    notes: tuple[str, ...],
    config: BuildConfig,
    checked: Callable[[], CheckedReference],
    progress: Progress = silent,
) -> BuiltOnnx:
    """Verify the graph of each stage: ``made`` gives them (``make``), ``checked`` what they are compared with.

    ``lowering`` and ``notes`` are the deploy form's.

    Raises:
        ExportError, VerificationError: a stage refused the network, or computed something else.
    """
    with progress("trace to ONNX and simplify"):
        stages = made()
        first = next(stages)
    passed = checked()
    for stage, model in chain([first], stages):
        with progress(f"verify {stage}"):
            passed = _compared(stage, model, passed, config)
    sizes = file_sizes(model.ByteSize(), onnx_weights(model), SCALE_BYTES)
    if config.weights != FLOAT32 and config.precision == FLOAT32:
        model = store_onnx(model, config.weights)
        with progress(stage := f"verify ONNX, weights {config.weights}"):
            passed = _compared(stage.removeprefix("verify "), model, passed, config)
    noise: tuple[LayerNoise, ...] = ()
    largest: float | None = None
    if config.precision == INT8:
        with progress("calibrate and quantise"):
            done = int8_graph(model, passed, config)
        model, passed, config, noise = done.model, done.checked, done.config, done.layers
    if config.precision == FLOAT16:
        with progress("compute in float16"):
            model, passed, largest = half_graph(model, passed, config)
    notes = (*notes, *_checked_for_runtime(model, config.runtime))
    counts = graph_stats(first[1]), graph_stats(model)
    sizes[config.weights if config.precision != INT8 else INT8] = counts[1].size_bytes
    facts = (*counts, lowering, notes, sizes)
    return BuiltOnnx(config, passed.report, passed.reference, *facts, model, noise, largest=largest)


def _checked_for_runtime(model: onnx.ModelProto, runtime: str | None) -> tuple[str, ...]:
    """Return what is to be said of the runtime that the model is for, if any; refuse what it would divide."""
    if runtime is None:
        return ()
    needs = needs_of(runtime)
    if needs.one_partition:
        check_one_partition(model, runtime)
    if not needs.booleans:
        _check_no_booleans(model, runtime)
    if not needs.adding:
        _check_no_adding(model, runtime)
    return tuple(f"{runtime}: {note}" for note in needs.notes)


def _check_no_booleans(model: onnx.ModelProto, runtime: str) -> None:
    """Raise ExportError where a constant has truth values, as torch writes pooling to cells of several sizes."""
    kind = onnx.TensorProto.BOOL
    if (name := next((one.name for one in model.graph.initializer if one.data_type == kind), None)) is not None:
        raise ExportError(
            f"{runtime} reads no boolean constants, and the network has '{shown(name)}'; pool to cells of one size "
            "where it pools adaptively, compute masks as numbers, or export it for another runtime"
        )


def _check_no_adding(model: onnx.ModelProto, runtime: str) -> None:
    """Raise ExportError where values are added to places, as torch's ``index_add`` does."""
    for node in model.graph.node:
        if node.op_type == "ScatterND" and any(one.name == "reduction" and one.s != b"none" for one in node.attribute):
            raise ExportError(
                f"{runtime} adds up other numbers where a network adds to places (index_add, overlapping frames), as "
                f"'{shown(node.output[0])}' does; use a transposed convolution, or export it for another runtime"
            )


def _compared(stage: str, model: onnx.ModelProto, checked: CheckedReference, config: BuildConfig) -> CheckedReference:
    session = OnnxRuntimeSession(model.SerializeToString())
    return checked.compared(stage, session.run_all, config.tolerance, config.batch)
