"""From a train-form network to a verified ONNX graph in memory, stage by stage.

train form (float64) → reference outputs
  → deploy form                      checked, 1e-9
  → ONNX as traced                   checked, 5e-5
  → ONNX simplified                  checked, 5e-5
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from torch import nn

from dcd_deploy.artifacts import Preprocessing
from dcd_deploy.export.graph import GraphStats, graph_stats
from dcd_deploy.export.reference import TrainReference, generated_reference, make_reference, run_torch
from dcd_deploy.export.simplify import simplify
from dcd_deploy.export.to_onnx import DEFAULT_OPSET, to_onnx
from dcd_deploy.export.verify import (
    DEPLOY_TOLERANCE,
    FLOAT32_TOLERANCE,
    Comparison,
    VerificationReport,
    compare,
    new_report,
)
from dcd_deploy.models.deploy.network import to_deploy
from dcd_deploy.progress import Progress, silent
from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession
from dcd_deploy.samples import inputs_from_file


@dataclass(frozen=True)
class BuildConfig:
    """What the graph is to be; a ``batch`` of None is free, ``samples`` is a .npy file of verification inputs."""

    preprocessing: Preprocessing
    batch: int | None = 1
    lowering: str = "auto"
    opset: int = DEFAULT_OPSET
    tolerance: float = FLOAT32_TOLERANCE
    samples: Path | None = None


@dataclass(frozen=True)
class BuiltModel:
    """A verified graph that is not yet on disk."""

    model: onnx.ModelProto
    config: BuildConfig
    report: VerificationReport
    reference: TrainReference
    traced: GraphStats
    simplified: GraphStats
    lowering: dict[str, str]


def build_onnx(network: nn.Module, config: BuildConfig, progress: Progress = silent) -> BuiltModel:
    """Lower, trace, simplify and verify a float64 train-form network.

    Raises:
        ExportError, VerificationError: a stage refused the network, or computed something else.
    """
    height, width, batch = config.preprocessing.height, config.preprocessing.width, config.batch
    with progress("reference outputs in float64"):
        reference, report = reference_for(network, config)
    with progress("deploy form, verified in float64"):
        deploy = to_deploy(network, height, width, config.lowering)
        run = lambda images: run_torch(deploy, images)  # noqa: E731 - a name for one use reads worse
        report = report.with_comparisons(*compare("deploy form", run, reference, DEPLOY_TOLERANCE))
    with progress("trace to ONNX"):
        traced = to_onnx(deploy, height, width, batch, config.opset)
    with progress("verify ONNX as traced"):
        report = report.with_comparisons(*_compare_onnx("ONNX as traced", traced.raw, reference, config))
    with progress("simplify"):
        images = reference.images[np.arange(batch or 2) % len(reference.images)]
        model = simplify(traced.tidied, images, config.tolerance * reference.range)
    with progress("verify ONNX simplified"):
        report = report.with_comparisons(*_compare_onnx("ONNX simplified", model, reference, config))
    return BuiltModel(model, config, report, reference, graph_stats(traced.raw), graph_stats(model), deploy.lowering)


def reference_for(network: nn.Module, config: BuildConfig) -> tuple[TrainReference, VerificationReport]:
    """Return the float64 reference on the inputs that ``config`` names, and a report without comparisons."""
    settings = config.preprocessing
    if config.samples is None:
        reference = generated_reference(network, settings, config.tolerance)
        source = f"generated pictures at contrast {reference.contrast:g}"
    else:
        reference = make_reference(network, inputs_from_file(config.samples, settings.height, settings.width))
        source = f"pictures of {config.samples.name}"
    return reference, new_report(reference, source, config.tolerance)


def _compare_onnx(
    stage: str, model: onnx.ModelProto, reference: TrainReference, config: BuildConfig
) -> tuple[Comparison, ...]:
    session = OnnxRuntimeSession(model.SerializeToString())
    return compare(stage, session.run, reference, config.tolerance, config.batch)
