"""From what was made of a deploy form (``make``) to a verified TFLite model in memory, stage by stage.

train form (float64) → reference outputs
  → deploy form, channels last           checked, 1e-9
  → TFLite                               weights stored small, where that is asked for
  → TFLite under plain kernels           checked, 5e-5
  → TFLite under XNNPACK                 checked, 5e-5
  → TFLite in CompiledModel              checked, 5e-5; where kernels are computed by FULLY_CONNECTED
  → TFLite in int8                       judged (``export.quantised``), in all of these; where that is asked for
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from dcd_deploy.artifacts import FLOAT16, FLOAT32, INT8, LAYOUTS, LITERT_COMPILED, NHWC, ModelCard
from dcd_deploy.errors import ExportError, ModelFileError, OptionError, UnknownNameError
from dcd_deploy.export.budget import within_budget
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.built_model import BuiltModel
from dcd_deploy.export.calibration import generated_calibration
from dcd_deploy.export.checked_reference import CheckedReference
from dcd_deploy.export.quantised import float_answers, judged, judged_elsewhere
from dcd_deploy.export.refusal import ONNX_INSTEAD, ORDINARY
from dcd_deploy.export.stats import GraphStats, file_sizes
from dcd_deploy.export.tflite.file import tflite_nodes, tflite_stats, with_card
from dcd_deploy.export.tflite.float16 import half_model
from dcd_deploy.export.tflite.half import suiting_half
from dcd_deploy.export.tflite.quantised import BITS, TfliteQuantiser
from dcd_deploy.export.tflite.quantised.ranges import channels_last
from dcd_deploy.export.tflite.store import SCALE_BYTES, store_tflite, tflite_weights
from dcd_deploy.export.truth import TrainReference
from dcd_deploy.export.verify import Runner
from dcd_deploy.lowering.channels_last.fully_connected import FullyConnectedLowering
from dcd_deploy.progress import Progress, silent
from dcd_deploy.runtimes.litert import LiteRtSession
from dcd_deploy.runtimes.litert_compiled import LiteRtCompiledSession

COMPILED, XNNPACK = "TFLite, CompiledModel", "TFLite, XNNPACK"
LACKING = re.compile(  # an interpreter's words; of some operators it has some forms
    r"Didn't find op for builtin opcode '(?P<none>\w+)'|"
    r"Node number (?P<number>\d+) \((?P<form>\w+)\) failed to (?:prepare|invoke)"
)
SAYS = " says: "  # between the file and an interpreter's own words
STAGES: dict[str, Callable[[bytes], LiteRtSession]] = {
    "TFLite, plain kernels": partial(LiteRtSession, xnnpack=False),
    XNNPACK: LiteRtSession,
    COMPILED: LiteRtCompiledSession,
}


@dataclass(frozen=True)
class BuiltTflite(BuiltModel):
    """A verified TFLite model, as bytes that lack the description."""

    model: bytes

    packages: ClassVar[tuple[str, ...]] = ("torch", "litert-torch", "ai-edge-litert", "numpy")

    @property
    def bits(self) -> int:
        """Those of weights in int8: XNNPACK adds up whole products on every machine."""
        return BITS

    @property
    def layout(self) -> str:  # type: ignore[override]  # here the user's choice
        """That of all maps that go in and out."""
        return self.config.layout

    @property
    def runtime(self) -> str | None:
        """CompiledModel, where a kernel is computed by FULLY_CONNECTED."""
        return _runtime(self.lowering)

    @property
    def facts(self) -> dict[str, Any]:
        """The layout of maps."""
        return {"layout": self.config.layout}

    def content(self, card: ModelCard) -> bytes:
        """Return the file, with its description inside."""
        return with_card(self.model, card)


def build_tflite(
    made: Callable[[], Iterator[tuple[bytes, GraphStats]]],
    lowering: dict[str, str],
    notes: tuple[str, ...],
    config: BuildConfig,
    checked: Callable[[], CheckedReference],
    progress: Progress = silent,
) -> BuiltTflite:
    """Verify a model; ``made`` waits for it (``make``), ``checked`` for what it is compared with.

    ``lowering`` and ``notes`` are the deploy form's.

    Raises:
        OptionError: the batch is free, which TFLite's kernels do not support.
        ExportError, VerificationError: a stage refused the network, or computed something else.
    """
    check_tflite_options(config)
    with progress("convert to TFLite"):
        ((model, traced),) = made()
    sizes = file_sizes(len(model), tflite_weights(model), SCALE_BYTES)
    if config.precision == FLOAT16:
        model = suiting_half(model)
    if config.weights != FLOAT32:
        model = store_tflite(model, config.weights)
    sizes[config.weights] = len(model)
    passed, stages = checked(), _stages(lowering)
    for stage, opened in stages.items():
        with progress(f"verify {stage}"), _taken(model):
            session = opened(model)
            passed = passed.compared(stage, _runner(session, config.layout), config.tolerance, config.batch)
    if config.precision == INT8:
        with progress("calibrate and quantise"):
            model, passed, config = _quantised(model, stages, passed, config)
        sizes[INT8] = len(model)
    largest: float | None = None
    if config.precision == FLOAT16:
        with progress("compute in float16"):
            model, passed, largest = half_model(model, passed, config, _runner)
    counts = (traced, tflite_stats(model))
    facts = (*counts, lowering, notes, sizes)
    return BuiltTflite(config, passed.report, passed.reference, *facts, model, largest=largest)


def _runtime(lowering: Mapping[str, str]) -> str | None:
    return LITERT_COMPILED if FullyConnectedLowering.name in lowering.values() else None


def _stages(lowering: Mapping[str, str]) -> dict[str, Callable[[bytes], LiteRtSession]]:
    """Return the runtimes that a model is verified in."""
    return {stage: opened for stage, opened in STAGES.items() if stage != COMPILED or _runtime(lowering) is not None}


@contextmanager
def _taken(model: bytes) -> Iterator[None]:
    """Tell what an interpreter does not take of a converted model, when it opens or when it runs, as a refusal.

    Raises:
        ExportError: litert-torch made something of the network that TFLite's interpreter does not take.
    """
    try:
        yield
    except ModelFileError as error:
        _, says, said = str(error).partition(SAYS)
        if not says:  # it is no model, whose bytes are of our own making
            raise
        raise ExportError(f"{_refused(model, said)}; {ORDINARY}{ONNX_INSTEAD}") from error


def _refused(model: bytes, said: str) -> str:
    """Return what an interpreter does not take of a converted model, in words."""
    if (lacking := LACKING.search(said)) is None:
        return f"TFLite's interpreter does not take what litert-torch made of the network: {said}"
    operator, why = lacking["none"] or lacking["form"], said[: lacking.start()].strip()
    amiss = "does not have" if lacking["none"] else "does not take in this form" + (f" ({why})" if why else "")
    behind = _behind(model, operator, int(lacking["number"] or 0))
    return f"litert-torch made {operator} of what the network computes{behind}, which TFLite's interpreter {amiss}"


def _behind(model: bytes, operator: str, number: int) -> str:
    """Return " behind 'path'": the layer of the first operator of this name from a number on, or the last before it."""
    layer = ""
    for i, node in enumerate(tflite_nodes(model)):
        layer = node.layer or layer
        if node.operator == operator and i >= number:
            break
    return f" behind '{layer}'" if layer else ""


def _quantised(
    model: bytes, stages: Mapping[str, Callable[[bytes], LiteRtSession]], checked: CheckedReference, config: BuildConfig
) -> tuple[bytes, CheckedReference, BuildConfig]:
    """Return a verified float32 model in int8, the check with its cost in each runtime, and the layers in float32.

    Raises:
        OptionError: a layer to keep in float32 is none.
        VerificationError: it costs more than it may.
    """
    calibration = config.calibration or generated_calibration(config.entries, config.preprocessing)
    right = float_answers(_runner(LiteRtSession(model), config.layout), calibration, checked.reference.names)
    images = channels_last(calibration.images) if config.layout == NHWC else calibration.images
    quantiser = TfliteQuantiser.of(model, images)
    if config.budget is not None and config.judged:
        config = replace(config, keep_float=_in_budget(quantiser, right, config))
    made = quantiser.quantised(config.keep_float, judged=config.judged)
    runs = {stage: _runner(opened(made), config.layout) for stage, opened in stages.items()}
    checked = judged(checked, f"{XNNPACK}, in int8", runs.pop(XNNPACK), right, config)
    for stage, run in runs.items():
        checked = judged_elsewhere(checked, f"{stage}, in int8", run, right, config)
    return made, checked, config


def _in_budget(quantiser: TfliteQuantiser, right: TrainReference, config: BuildConfig) -> tuple[str, ...]:
    """Return the layers that stay in float32; those that the user named are among them."""

    def run(keep_float: tuple[str, ...]) -> Runner:
        return _runner(LiteRtSession(quantiser.graph(keep_float)), config.layout)

    return within_budget(run, lambda: quantiser.noisiest(config.keep_float), right, config)


def check_tflite_options(config: BuildConfig) -> None:
    """Refuse settings that TFLite has no words for.

    Raises:
        OptionError: the batch is free, or a layer is to stay in float32 among those in float16.
        UnknownNameError: there is no such layout.
    """
    if config.batch is None:
        raise OptionError(expected="a `batch` number for TFLite, whose shapes are fixed", found="'dynamic'")
    if config.layout not in LAYOUTS:
        raise UnknownNameError("layout", config.layout, LAYOUTS)
    if config.precision == FLOAT16 and config.keep_float:
        raise OptionError(
            expected="`to` onnx with `keep_float` and `precision` float16",
            found="tflite, of which XNNPACK computes all or nothing in float16",
            advice="leave it out",
        )


def _runner(session: LiteRtSession, layout: str) -> Runner:
    """Return what runs all inputs through one interpreter, one after the other: nothing of an input may stay in it.

    The model has no description yet that says its layout.
    """
    session.inputs, session.outputs = (
        tuple(replace(spec, layout=layout if len(spec.shape) == 4 else None) for spec in side)
        for side in (session.inputs, session.outputs)
    )
    return session.run_all
