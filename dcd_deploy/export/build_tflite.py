"""From a train-form network to a verified TFLite model in memory, stage by stage.

train form (float64) → reference outputs
  → deploy form, channels last           checked, 1e-9
  → TFLite under plain kernels           checked, 5e-5
  → TFLite under XNNPACK                 checked, 5e-5
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from torch import nn

from dcd_deploy.artifacts import INPUT, ModelCard, TensorSpec
from dcd_deploy.errors import OptionError, UnknownNameError
from dcd_deploy.export.build import BuildConfig, BuiltModel, CheckedReference, checked_deploy
from dcd_deploy.export.deployable import deployable
from dcd_deploy.export.reference import TrainReference
from dcd_deploy.export.tflite_file import finish, tflite_stats, with_card
from dcd_deploy.export.to_tflite import LAYOUTS, input_shape, to_tflite
from dcd_deploy.export.verify import Comparison, compare
from dcd_deploy.progress import Progress, silent
from dcd_deploy.runtimes.litert import LiteRtSession

PACKAGES = ("torch", "litert-torch", "ai-edge-litert", "numpy")


@dataclass(frozen=True)
class BuiltTflite(BuiltModel):
    """A verified TFLite model, as bytes that lack the description."""

    model: bytes

    @property
    def input(self) -> TensorSpec:
        """(N, H, W, 3), or (N, 3, H, W) where that was asked for."""
        settings, batch = self.config.preprocessing, self.config.batch
        return TensorSpec(INPUT, input_shape(batch or 1, settings.height, settings.width, self.config.layout))

    @property
    def versions(self) -> dict[str, str]:
        """The versions of the packages that made it."""
        return {name: version(name) for name in PACKAGES}

    @property
    def facts(self) -> dict[str, Any]:
        """The input's layout."""
        return {"layout": self.config.layout}

    def content(self, card: ModelCard) -> bytes:
        """Return the file, with its description inside."""
        return with_card(self.model, card)


def build_tflite(
    network: nn.Module, config: BuildConfig, checked: CheckedReference, progress: Progress = silent
) -> BuiltTflite:
    """Lower, convert and verify a float64 train-form network.

    Raises:
        OptionError: the batch is free, which TFLite's kernels do not support.
        ExportError, VerificationError: a stage refused the network, or computed something else.
    """
    check_tflite_options(config)
    settings, batch = config.preprocessing, config.batch or 1
    deploy, report = checked_deploy(network, config, checked, "tflite", progress)
    lowering, places = deploy.lowering, deploy.places
    single = deployable(deploy)
    del deploy  # a deep network in float64 is most of what the process holds
    with progress("convert to TFLite"):
        converted = to_tflite(single, settings.height, settings.width, batch, config.layout)
        del single
        traced, model = tflite_stats(converted), finish(converted, places)
        del converted
    for xnnpack, stage in ((False, "TFLite, plain kernels"), (True, "TFLite, XNNPACK")):
        with progress(f"verify {stage}"):
            report = report.with_comparisons(*_compare(stage, model, checked.reference, config, xnnpack=xnnpack))
    return BuiltTflite(config, report, checked.reference, traced, tflite_stats(model), lowering, model)


def check_tflite_options(config: BuildConfig) -> None:
    """Refuse settings that TFLite has no words for.

    Raises:
        OptionError: the batch is free. UnknownNameError: there is no such layout.
    """
    if config.batch is None:
        raise OptionError("expected a --batch number for TFLite, whose shapes are fixed, found 'dynamic'")
    if config.layout not in LAYOUTS:
        raise UnknownNameError("layout", config.layout, LAYOUTS)


def _compare(
    stage: str, model: bytes, reference: TrainReference, config: BuildConfig, *, xnnpack: bool
) -> tuple[Comparison, ...]:
    """Run all inputs through one interpreter, one after the other: nothing of an input may stay in it."""
    session = LiteRtSession(model, xnnpack=xnnpack)
    return compare(stage, session.run, reference, config.tolerance, config.batch)
