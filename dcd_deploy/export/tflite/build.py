"""From a train-form network to a verified TFLite model in memory, stage by stage.

train form (float64) → reference outputs
  → deploy form, channels last           checked, 1e-9
  → TFLite                               weights stored small, where that is asked for
  → TFLite under plain kernels           checked, 5e-5
  → TFLite under XNNPACK                 checked, 5e-5
  → TFLite in CompiledModel              checked, 5e-5; where kernels are computed by FULLY_CONNECTED
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import Any

from dcd_deploy.artifacts import FLOAT32, LAYOUTS, LITERT_COMPILED, ModelCard
from dcd_deploy.errors import OptionError, UnknownNameError
from dcd_deploy.export.alongside import threads_by_load
from dcd_deploy.export.build import BuildConfig, BuiltModel, CheckedReference
from dcd_deploy.export.deployable import deployable
from dcd_deploy.export.stats import file_sizes
from dcd_deploy.export.tflite.convert import convert_tflite
from dcd_deploy.export.tflite.file import finish, tflite_stats, with_card
from dcd_deploy.export.tflite.store import SCALE_BYTES, store_tflite, tflite_weights
from dcd_deploy.export.verify import Runner
from dcd_deploy.lowering.channels_last.fully_connected import FullyConnectedLowering
from dcd_deploy.lowering.deploy import DeployNetwork
from dcd_deploy.progress import Progress, silent
from dcd_deploy.runtimes.litert import LiteRtSession
from dcd_deploy.runtimes.litert_compiled import LiteRtCompiledSession

COMPILED = "TFLite, CompiledModel"
STAGES: dict[str, Callable[[bytes], LiteRtSession]] = {
    "TFLite, plain kernels": partial(LiteRtSession, xnnpack=False),
    "TFLite, XNNPACK": LiteRtSession,
    COMPILED: LiteRtCompiledSession,
}
PACKAGES = ("torch", "litert-torch", "ai-edge-litert", "numpy")


@dataclass(frozen=True)
class BuiltTflite(BuiltModel):
    """A verified TFLite model, as bytes that lack the description."""

    model: bytes

    @property
    def layout(self) -> str:  # type: ignore[override]  # here the user's choice
        """That of all maps that go in and out."""
        return self.config.layout

    @property
    def runtime(self) -> str | None:
        """CompiledModel, where a kernel is computed by FULLY_CONNECTED."""
        return LITERT_COMPILED if FullyConnectedLowering.name in self.lowering.values() else None

    @property
    def versions(self) -> dict[str, str]:
        """The versions of the packages that made it."""
        return {name: version(name) for name in PACKAGES}

    @property
    def facts(self) -> dict[str, Any]:
        """The layout of maps."""
        return {"layout": self.config.layout}

    def content(self, card: ModelCard) -> bytes:
        """Return the file, with its description inside."""
        return with_card(self.model, card)


def build_tflite(
    deploy: DeployNetwork,
    config: BuildConfig,
    checked: Callable[[], CheckedReference],
    progress: Progress = silent,
) -> BuiltTflite:
    """Convert and verify a deploy form; ``checked`` waits for what it is compared with.

    Raises:
        OptionError: the batch is free, which TFLite's kernels do not support.
        ExportError, VerificationError: a stage refused the network, or computed something else.
    """
    check_tflite_options(config)
    names, lowering, notes, places = deploy.outputs, deploy.lowering, deploy.notes, deploy.places
    single = deployable(deploy.module, config.weights)
    del deploy  # a deep network in float64 is most of what the process holds
    with progress("convert to TFLite"), threads_by_load():
        converted = convert_tflite(single, config.entries, names, config.batch or 1, config.layout)
        del single
        entries = [each.name for each in config.entries]
        traced, model = tflite_stats(converted), finish(converted, places, entries, names)
        del converted
    sizes = file_sizes(len(model), tflite_weights(model), SCALE_BYTES)
    if config.weights != FLOAT32:
        model = store_tflite(model, config.weights)
    sizes[config.weights] = len(model)
    passed, counts = checked(), (traced, tflite_stats(model))
    built = BuiltTflite(config, passed.report, passed.reference, *counts, lowering, notes, sizes, model)
    for stage, opened in STAGES.items():
        if stage != COMPILED or built.runtime == LITERT_COMPILED:
            with progress(f"verify {stage}"):
                passed = passed.compared(stage, _runner(opened(model), config.layout), config.tolerance, config.batch)
    return replace(built, report=passed.report)


def check_tflite_options(config: BuildConfig) -> None:
    """Refuse settings that TFLite has no words for.

    Raises:
        OptionError: the batch is free. UnknownNameError: there is no such layout.
    """
    if config.batch is None:
        raise OptionError(expected="a `batch` number for TFLite, whose shapes are fixed", found="'dynamic'")
    if config.layout not in LAYOUTS:
        raise UnknownNameError("layout", config.layout, LAYOUTS)


def _runner(session: LiteRtSession, layout: str) -> Runner:
    """Return what runs all inputs through one interpreter, one after the other: nothing of an input may stay in it.

    The model has no description yet that says its layout.
    """
    session.inputs, session.outputs = (
        tuple(replace(spec, layout=layout if len(spec.shape) == 4 else None) for spec in side)
        for side in (session.inputs, session.outputs)
    )
    return session.run_all
