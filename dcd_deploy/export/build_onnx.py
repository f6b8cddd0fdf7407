"""From a train-form network to a verified ONNX graph in memory, stage by stage.

train form (float64) → reference outputs
  → deploy form, channels first      checked, 1e-9
  → ONNX as traced                   checked, 5e-5
  → ONNX simplified                  checked, 5e-5
  → ONNX in blocks                   checked, 5e-5; where layers are of lowering nchwc
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
import onnxsim
import torch

from dcd_deploy import __version__
from dcd_deploy.artifacts import METADATA_KEY, ModelCard
from dcd_deploy.export.build import BuildConfig, BuiltModel, CheckedReference, checked_deploy
from dcd_deploy.export.graph import graph_stats
from dcd_deploy.export.in_blocks import in_blocks
from dcd_deploy.export.naming_onnx import name_onnx, onnx_scopes
from dcd_deploy.export.simplify import simplify
from dcd_deploy.export.threads import threads_by_load
from dcd_deploy.export.to_onnx import trace_onnx
from dcd_deploy.lowering.capture import Captured
from dcd_deploy.lowering.channels_first.nchwc import NchwcLowering
from dcd_deploy.progress import Progress, silent
from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession


@dataclass(frozen=True)
class BuiltOnnx(BuiltModel):
    """A verified ONNX graph."""

    model: onnx.ModelProto

    @property
    def versions(self) -> dict[str, str]:
        """The versions of the packages that made it."""
        return {module.__name__: module.__version__ for module in (torch, onnx, onnxsim, onnxruntime, np)}

    @property
    def facts(self) -> dict[str, Any]:
        """The opset."""
        return {"opset": self.config.opset}

    def content(self, card: ModelCard) -> bytes:
        """Return the file, with its description inside."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        model.producer_name, model.producer_version = "dcd-deploy", __version__
        onnx.helper.set_model_props(model, {METADATA_KEY: card.to_json()})
        serialised: bytes = model.SerializeToString()
        return serialised


def build_onnx(
    captured: Captured, config: BuildConfig, checked: CheckedReference, progress: Progress = silent
) -> BuiltOnnx:
    """Lower, trace, simplify and verify a captured network.

    Raises:
        ExportError, VerificationError: a stage refused the network, or computed something else.
    """
    deploy, checked = checked_deploy(captured, config, checked, "onnx", progress)
    reference, batch = checked.reference, config.batch
    with progress("trace to ONNX"), threads_by_load():
        traced = trace_onnx(deploy.module, config.entries, reference.names, batch, config.opset)
    with progress("verify ONNX as traced"):
        checked = _compared("ONNX as traced", traced.raw, checked, config)
    with progress("simplify"):
        rows = np.arange(batch or 2) % len(reference.images)
        tolerance = config.tolerance * min(map(reference.range, reference.names))
        simplified = simplify(traced.tidied, [values[rows] for values in reference.inputs], tolerance)
        model = name_onnx(simplified, onnx_scopes(traced.tidied), deploy.places)
    with progress("verify ONNX simplified"):
        checked = _compared("ONNX simplified", model, checked, config)
    if NchwcLowering.name in deploy.lowering.values() and (moved := in_blocks(model)) is not None:
        model = moved
        with progress("verify ONNX in blocks"):
            checked = _compared("ONNX in blocks", model, checked, config)
    counts = graph_stats(traced.raw), graph_stats(model)
    return BuiltOnnx(config, checked.report, reference, *counts, deploy.lowering, deploy.notes, model)


def _compared(stage: str, model: onnx.ModelProto, checked: CheckedReference, config: BuildConfig) -> CheckedReference:
    session = OnnxRuntimeSession(model.SerializeToString())
    return checked.compared(stage, session.run_all, config.tolerance, config.batch)
