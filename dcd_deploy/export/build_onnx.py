"""From a train-form network to a verified ONNX graph in memory, stage by stage.

train form (float64) → reference outputs
  → deploy form, channels first      checked, 1e-9
  → ONNX as traced                   checked, 5e-5
  → ONNX simplified                  checked, 5e-5
  → ONNX in blocks                   checked, 5e-5; where layers are of form nchwc
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
import onnxsim
import torch
from torch import nn

from dcd_deploy import __version__
from dcd_deploy.artifacts import INPUT, METADATA_KEY, ModelCard, TensorSpec
from dcd_deploy.export.build import BuildConfig, BuiltModel, CheckedReference, checked_deploy
from dcd_deploy.export.graph import graph_stats
from dcd_deploy.export.in_blocks import in_blocks
from dcd_deploy.export.naming import name_onnx, onnx_scopes
from dcd_deploy.export.reference import TrainReference
from dcd_deploy.export.simplify import simplify
from dcd_deploy.export.to_onnx import to_onnx
from dcd_deploy.export.verify import Comparison, compare
from dcd_deploy.progress import Progress, silent
from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession


@dataclass(frozen=True)
class BuiltOnnx(BuiltModel):
    """A verified ONNX graph."""

    model: onnx.ModelProto

    @property
    def input(self) -> TensorSpec:
        """(N, 3, H, W)."""
        settings = self.config.preprocessing
        return TensorSpec(INPUT, (self.config.batch, 3, settings.height, settings.width))

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
    network: nn.Module, config: BuildConfig, checked: CheckedReference, progress: Progress = silent
) -> BuiltOnnx:
    """Lower, trace, simplify and verify a float64 train-form network.

    Raises:
        ExportError, VerificationError: a stage refused the network, or computed something else.
    """
    reference = checked.reference
    height, width, batch = config.preprocessing.height, config.preprocessing.width, config.batch
    deploy, report = checked_deploy(network, config, checked, "onnx", progress)
    with progress("trace to ONNX"):
        traced = to_onnx(deploy, height, width, batch, config.opset)
    with progress("verify ONNX as traced"):
        report = report.with_comparisons(*_compare("ONNX as traced", traced.raw, reference, config))
    with progress("simplify"):
        images = reference.images[np.arange(batch or 2) % len(reference.images)]
        simplified = simplify(traced.tidied, images, config.tolerance * reference.range)
        model = name_onnx(simplified, onnx_scopes(traced.tidied), deploy.places)
    with progress("verify ONNX simplified"):
        report = report.with_comparisons(*_compare("ONNX simplified", model, reference, config))
    if (moved := in_blocks(model)) is not None:
        model = moved
        with progress("verify ONNX in blocks"):
            report = report.with_comparisons(*_compare("ONNX in blocks", model, reference, config))
    return BuiltOnnx(config, report, reference, graph_stats(traced.raw), graph_stats(model), deploy.lowering, model)


def _compare(
    stage: str, model: onnx.ModelProto, reference: TrainReference, config: BuildConfig
) -> tuple[Comparison, ...]:
    session = OnnxRuntimeSession(model.SerializeToString())
    return compare(stage, session.run, reference, config.tolerance, config.batch)
