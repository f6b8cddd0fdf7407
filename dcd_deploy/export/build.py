"""What every format's build shares: its settings, what it returns, and the checked steps on the way.

train form (float64) → reference outputs → deploy form, checked to 1e-9 → the format's own stages (``build_onnx``,
``build_tflite``), each checked
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from dcd_deploy.artifacts import FLOAT32_TOLERANCE, ModelCard, Preprocessing, TensorSpec
from dcd_deploy.export.reference import TrainReference, generated_reference, make_reference, run_torch
from dcd_deploy.export.stats import GraphStats
from dcd_deploy.export.verify import DEPLOY_TOLERANCE, VerificationReport, compare, new_report
from dcd_deploy.models.deploy.network import AUTO, DeployNetwork, Lowering, to_deploy
from dcd_deploy.models.deploy.targets import PORTABLE, target_for
from dcd_deploy.progress import Progress
from dcd_deploy.samples import inputs_from_file

DEFAULT_OPSET = 18


@dataclass(frozen=True)
class BuildConfig:
    """What the graph is to be.

    A ``batch`` of None is free; ``target`` is a name of ``models.deploy.targets``; ``samples`` is a .npy file of
    verification inputs; ``opset`` counts for ONNX, and ``layout``, "nhwc" or "nchw", for the input of TFLite.
    ``assumed`` says what no tensor tells, and which option sets it.
    """

    preprocessing: Preprocessing
    batch: int | None = 1
    lowering: Lowering = AUTO
    target: str = PORTABLE
    opset: int = DEFAULT_OPSET
    tolerance: float = FLOAT32_TOLERANCE
    samples: Path | None = None
    layout: str = "nhwc"
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True)
class BuiltModel(ABC):
    """A verified graph that is not yet on disk; ``traced`` and ``finished`` count it before and after our passes."""

    config: BuildConfig
    report: VerificationReport
    reference: TrainReference
    traced: GraphStats
    finished: GraphStats
    lowering: dict[str, str]

    @property
    @abstractmethod
    def input(self) -> TensorSpec:
        """The input as the file has it."""

    @property
    @abstractmethod
    def versions(self) -> dict[str, str]:
        """The versions of the packages that made it."""

    @property
    def facts(self) -> dict[str, Any]:
        """What the sidecar says about this format alone."""
        return {}

    @abstractmethod
    def content(self, card: ModelCard) -> bytes:
        """Return the file, with its description inside."""


@dataclass(frozen=True)
class CheckedReference:
    """The float64 reference of a network and the report to which each stage adds its comparisons."""

    reference: TrainReference
    report: VerificationReport


def reference_for(network: nn.Module, config: BuildConfig) -> CheckedReference:
    """Return the float64 reference on the inputs that ``config`` names, and a report without comparisons."""
    settings = config.preprocessing
    if config.samples is None:
        reference = generated_reference(network, settings, config.tolerance)
        source = f"generated pictures at contrast {reference.contrast:g}"
    else:
        reference = make_reference(network, inputs_from_file(config.samples, settings.height, settings.width))
        source = f"pictures of {config.samples.name}"
    report = replace(new_report(reference, source, config.tolerance), assumed=config.assumed)
    return CheckedReference(reference, report)


def checked_deploy(
    network: nn.Module, config: BuildConfig, checked: CheckedReference, format: str, progress: Progress
) -> tuple[DeployNetwork, VerificationReport]:
    """Return the deploy form for the target in that format, and the report with its comparison in float64.

    Raises:
        VerificationError: it computes something else than the train form.
    """
    with progress("deploy form, verified in float64"):
        target = target_for(config.target, format).for_batch(config.batch)
        deploy = to_deploy(network, config.preprocessing.height, config.preprocessing.width, config.lowering, target)
        run = lambda images: run_torch(deploy, images)  # noqa: E731 - a name for one use reads worse
        comparisons = compare("deploy form", run, checked.reference, DEPLOY_TOLERANCE)
        return deploy, checked.report.with_comparisons(*comparisons)
