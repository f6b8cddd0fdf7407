"""What every format's build shares: its settings, what it returns, and the checked steps on the way.

network (float64) → reference outputs → deploy form, checked to 1e-9 → the format's own stages (``build_onnx``,
``build_tflite``), each checked; and every one of them against what the user's own network answered, where that is given
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from dcd_deploy.artifacts import (
    FLOAT32,
    FLOAT32_TOLERANCE,
    INPUT,
    NHWC,
    OUTPUT,
    ModelCard,
    Precision,
    Preprocessing,
    StoredWeights,
    TensorSpec,
    file_shape,
)
from dcd_deploy.errors import OptionError
from dcd_deploy.export.alongside import threads_by_load
from dcd_deploy.export.calibration import Calibration
from dcd_deploy.export.deployable import deployable
from dcd_deploy.export.noise import LEAST_DB, measure_noise
from dcd_deploy.export.recorded import read_recorded
from dcd_deploy.export.reference import CONTRASTS, generated_reference, make_reference, runner
from dcd_deploy.export.runtime_needs import needs_of
from dcd_deploy.export.stats import GraphStats
from dcd_deploy.export.truth import Outputs, TrainReference
from dcd_deploy.export.verify import (
    CALIBRATED,
    DEPLOY_TOLERANCE,
    RECORDED,
    ROUNDED,
    TRAINED,
    Runner,
    VerificationReport,
    compare,
    new_report,
)
from dcd_deploy.lowering.capture import Captured
from dcd_deploy.lowering.deploy import DeployNetwork, lower
from dcd_deploy.lowering.network import Network, network_of
from dcd_deploy.lowering.passes.substitute import AUTO, Choice
from dcd_deploy.lowering.targets import PORTABLE, Target, target_for
from dcd_deploy.models.spec import NO_HEAD, NetworkSpec
from dcd_deploy.samples import InputSpec, generated_inputs, inputs_from_file

DEFAULT_OPSET = 18
FEATURES = "features"  # what comes out of a network without a head
RGB = 3


@dataclass(frozen=True)
class BuildConfig:
    """What the graph is to be.

    ``preprocessing`` is None where the first input is no picture of three channels; ``inputs`` are left out where it
    is the only one. A ``batch`` of None is free; ``target`` is a name of ``lowering.targets``; ``samples`` is a
    .npy file of verification inputs, ``recorded`` an .npz file of what the user's network answered; ``opset`` counts
    for ONNX, and ``layout``, "nhwc" or "nchw", for the maps that go in and out of TFLite. ``alone`` is the name of an
    output that is the only one and has none; ``assumed`` says what no tensor tells, and which option sets it;
    ``runtime`` is what the file is for, a name of ``runtime_needs``, where that was said.
    Large weights are stored as ``weights``; without ``judged`` it may cost what it does. ``precision`` "int8" quantises
    by the ranges that ``calibration`` gives, all but the layers ``keep_float``; with a ``budget``, in points of top-1,
    more of them stay in float32, until no more than that is lost. ``input_type`` is that of the
    first input: "uint8" of a picture's raw bytes, whose normalisation the network takes in (``lowering.raw_bytes``).
    """

    preprocessing: Preprocessing | None
    batch: int | None = 1
    lowering: Choice = AUTO
    target: str = PORTABLE
    opset: int = DEFAULT_OPSET
    tolerance: float = FLOAT32_TOLERANCE
    samples: Path | None = None
    layout: str = NHWC
    inputs: tuple[InputSpec, ...] = ()
    alone: str = OUTPUT
    recorded: Path | None = None
    assumed: tuple[str, ...] = ()
    runtime: str | None = None
    weights: str = FLOAT32
    judged: bool = True
    precision: str = FLOAT32
    calibration: Calibration | None = None
    keep_float: tuple[str, ...] = ()
    budget: float | None = None
    input_type: str = FLOAT32

    @property
    def traced_batch(self) -> int | None:
        """The batch size of the traced graph. With a free one no convolution has computed weights."""
        return None if self.runtime is not None and needs_of(self.runtime).constant_kernels else self.batch

    @property
    def least_db(self) -> float | None:
        """The signal-to-noise ratio that rounding the weights has to leave."""
        return LEAST_DB.get(self.weights) if self.judged else None

    @property
    def entries(self) -> tuple[InputSpec, ...]:
        """The inputs, of a classifier the one picture that its preprocessing makes."""
        return (replace(self._given[0], dtype=self.input_type), *self._given[1:])

    @property
    def _given(self) -> tuple[InputSpec, ...]:
        if self.inputs:
            return self.inputs
        if self.preprocessing is None:
            raise OptionError(expected="the inputs of the network or the preprocessing of its picture", found="neither")
        return (InputSpec(INPUT, (3, self.preprocessing.height, self.preprocessing.width)),)


@dataclass(frozen=True)
class BuiltModel(ABC):
    """A verified graph that is not yet on disk; ``traced`` and ``finished`` count it before and after our passes.

    ``sizes`` are the bytes that it takes with its weights stored in each way, of those not chosen about. ``notes`` say
    what of the lowering costs something, or was not lowered, and why.
    """

    config: BuildConfig
    report: VerificationReport
    reference: TrainReference
    traced: GraphStats
    finished: GraphStats
    lowering: dict[str, str]
    notes: tuple[str, ...]
    sizes: dict[str, int]

    layout = "nchw"  # of all tensors of four dimensions
    opset: ClassVar[int | None] = None

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs as the file has them."""
        return tuple(replace(self._spec(each.name, each.shape), dtype=each.dtype) for each in self.config.entries)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs as the file has them."""
        return tuple(self._spec(name, values.shape[1:]) for name, values in self.reference.outputs.items())

    def _spec(self, name: str, shape: tuple[int, ...]) -> TensorSpec:
        whole = (self.config.batch, *shape)
        return TensorSpec(name, file_shape(whole, self.layout), layout=self.layout if len(whole) == 4 else None)

    @property
    def weights(self) -> StoredWeights:
        """How the weights are stored, and what is left of the outputs."""
        left = min((noise.snr_db for noise in self.report.noise if noise.against != CALIBRATED), default=None)
        return StoredWeights(self.config.weights, left, None if left is None else self.config.least_db)

    @property
    def precision(self) -> Precision:
        """What is computed in, and what is left of the outputs."""
        if self.config.precision == FLOAT32:
            return Precision()
        images = 0 if self.config.calibration is None else len(self.config.calibration.images)
        runtimes = (each for each in self.report.noise if each.against == CALIBRATED)
        noise = min(runtimes, key=lambda each: each.snr_db)
        found = self.report.accuracy
        before, after = (None, None) if found is None else (found.float_top1, found.top1)
        kept = self.config.keep_float
        return Precision(self.config.precision, images, self.bits, noise.snr_db, noise.least_db, before, after, kept)

    @property
    def bits(self) -> int:
        """Those of weights in int8."""
        return target_for(self.config.target, "onnx").weight_bits

    @property
    def runtime(self) -> str | None:
        """The runtime that it is made for, where that is not the usual one."""
        return None

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
    """What a network is to give, and the report to which each stage adds its comparisons.

    ``recorded`` is what the user's own network answered, where that is given. ``against`` says whose the outputs are.
    """

    reference: TrainReference
    report: VerificationReport
    recorded: TrainReference | None = None
    tolerance: float = FLOAT32_TOLERANCE  # of comparisons with what was recorded
    against: str = TRAINED

    def compared(self, stage: str, run: Runner, tolerance: float, batch: int | None = None) -> CheckedReference:
        """Return this with the comparisons of one more stage.

        Raises:
            VerificationError: it computes something else.
        """
        report = self.report.with_comparisons(*compare(stage, run, self.reference, tolerance, batch, self.against))
        if self.recorded is not None:
            found = compare(stage, run, self.recorded, self.tolerance, batch, RECORDED)
            report = report.with_comparisons(*found)
        return replace(self, report=report)


def reference_for(captured: Captured, config: BuildConfig) -> CheckedReference:
    """Return the float64 reference on the inputs that ``config`` names, and a report without comparisons.

    What the user's own network answered is compared with the float64 network at once.

    Raises:
        VerificationError: the reference is worth nothing, or the user's network answered something else.
        InputFileError: the recorded answers cannot be read, or are of another model.
    """
    with threads_by_load():
        return _reference_for(captured, config)


def _reference_for(captured: Captured, config: BuildConfig) -> CheckedReference:
    entries, network, canonical = config.entries, captured.network.module, captured.as_module()
    if config.samples is None:
        reference = generated_reference(
            network, config.preprocessing, config.tolerance, entries, config.alone, canonical
        )
        kind = "pictures" if len(entries[0].shape) == 3 else "inputs"
        source = f"generated {kind} at contrast {reference.contrast:g}"
    else:
        inputs = samples_for(config)
        reference = make_reference(network, inputs, config.alone, canonical)
        source = f"pictures of {config.samples.name}"
    check_names(config, reference)
    report = replace(new_report(reference, source, config.tolerance), assumed=config.assumed)
    if config.recorded is None:
        return CheckedReference(reference, report)
    shapes = [(each.name, each.shape) for each in entries]
    recorded = read_recorded(config.recorded, shapes, reference.names)
    run = runner(network, config.alone)
    found = compare("float64 network", run, recorded, config.tolerance, None, RECORDED)
    return CheckedReference(reference, report.with_comparisons(*found), recorded, config.tolerance)


def for_registry(spec: NetworkSpec, config: BuildConfig) -> BuildConfig:
    """Return the settings for a network of the registry: its channels, and what its output is called."""
    alone = FEATURES if spec.head_kind == NO_HEAD else OUTPUT
    if spec.in_channels == RGB or config.preprocessing is None:
        return replace(config, alone=alone)
    sides = (config.preprocessing.height, config.preprocessing.width)
    return replace(config, alone=alone, preprocessing=None, inputs=(InputSpec(INPUT, (spec.in_channels, *sides)),))


def picture_network(module: nn.Module, config: BuildConfig) -> Network:
    """Return a module that takes the inputs of ``config``, ready to be captured.

    Its example is a generated one. On a blank picture a deep dynamic network may overflow, and no pixel out of its
    place would show.
    """
    examples = generated_inputs(config.entries, config.preprocessing, 1, CONTRASTS[-1])
    return network_of(module, tuple(torch.from_numpy(values) for values in examples), config.alone)


def samples_for(config: BuildConfig) -> tuple[Any, ...]:
    """Return the verification inputs that the user chose.

    Raises:
        OptionError: the network has several inputs, which one .npy file does not hold.
        InputFileError: the file is none of them.
    """
    assert config.samples is not None
    if len(config.entries) > 1:
        raise OptionError(
            expected="`samples` for a network of one input",
            found=len(config.entries),
            advice="record what your network answers, and give `reference`",
        )
    return (inputs_from_file(config.samples, config.entries[0].shape, config.input_type),)


def check_names(config: BuildConfig, reference: TrainReference) -> None:
    """Raise OptionError where an input and an output have one name."""
    if clash := {each.name for each in config.entries} & set(reference.names):
        raise OptionError(
            expected="outputs with names of their own", found=f"one called '{min(clash)}'", advice="rename it"
        )


def graph_of(format: str) -> str:
    """Return the format whose graph a file holds: an .ort file is an ONNX graph in onnxruntime's own words."""
    return "onnx" if format == "ort" else format


def lowered(captured: Captured, config: BuildConfig, formats: Sequence[str]) -> dict[str, DeployNetwork]:
    """Return the deploy form for the target in each format, in float64."""

    def target(format: str) -> Target:
        graph = graph_of(format)
        found = target_for(config.target, graph, config.precision)
        return found.for_batch(config.traced_batch if graph == "onnx" else config.batch)

    return {format: lower(captured, target(format), config.lowering) for format in formats}


def checked_deploy(
    captured: Captured, config: BuildConfig, deploys: Mapping[str, DeployNetwork]
) -> dict[str, CheckedReference]:
    """Return for each format the float64 reference, and the report with its deploy form's comparison.

    Raises:
        VerificationError: the reference is worth nothing, or a deploy form computes something else than the network.
    """
    checked = reference_for(captured, config)
    with threads_by_load():
        return {format: checked_form(checked, deploy, config) for format, deploy in deploys.items()}


def checked_form(checked: CheckedReference, deploy: DeployNetwork, config: BuildConfig) -> CheckedReference:
    """Return the reference that files of a deploy form are compared with, the deploy form's own comparison made.

    Where weights are stored small, it is what the deploy form gives with the rounded weights, in float64: how far that
    may be from the trained network is a question of its own (``noise``).

    Raises:
        VerificationError: the deploy form computes something else, or rounding costs more than it may.
    """
    checked = checked.compared("deploy form", runner(deploy.module, config.alone), DEPLOY_TOLERANCE, deploy.batch)
    if config.weights == FLOAT32:
        return checked
    stage, network = f"weights rounded to {config.weights}", deployable(deploy.module, config.weights).double()
    outputs = _one_by_one(network, checked.reference, config.alone)
    noise = measure_noise(stage, outputs, checked.reference, config.least_db, TRAINED)
    report = checked.report.with_noise(noise)
    if (recorded := checked.recorded) is not None:
        answers = _one_by_one(network, recorded, config.alone)
        report = report.with_noise(measure_noise(stage, answers, recorded, config.least_db, RECORDED))
    return CheckedReference(replace(checked.reference, outputs=outputs), report, against=ROUNDED)


def _one_by_one(network: nn.Module, reference: TrainReference, alone: str) -> dict[str, Outputs]:
    """Return the outputs of a network on the inputs of a reference, under its names."""
    run = runner(network, alone)
    each = [run(tuple(values[[i]] for values in reference.inputs)) for i in range(len(reference.images))]
    return {name: np.concatenate(parts) for name, parts in zip(reference.names, zip(*each, strict=True), strict=True)}
