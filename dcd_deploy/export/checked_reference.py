"""The float64 reference, and the checked steps that every format's build shares.

network (float64) → reference outputs → deploy form, checked to 1e-9 → the format's own stages (``build_onnx``,
``build_tflite``), each checked; and every one of them against what the user's own network answered, where that is given
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from dcd_deploy.artifacts import (
    FLOAT32,
    FLOAT32_TOLERANCE,
)
from dcd_deploy.errors import DcdDeployError, ExportError, OptionError
from dcd_deploy.export.alongside import threads_by_load
from dcd_deploy.export.build_config import BuildConfig, graph_of, samples_for
from dcd_deploy.export.deployable import deployable
from dcd_deploy.export.noise import measure_noise
from dcd_deploy.export.recorded import read_recorded
from dcd_deploy.export.reference import FOLLOWED, blaming_batches, generated_reference, make_reference, runner
from dcd_deploy.export.telling import telling_tolerance
from dcd_deploy.export.truth import Outputs, TrainReference
from dcd_deploy.export.verify import (
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
from dcd_deploy.lowering.failure import at, first_line
from dcd_deploy.lowering.targets import Target, target_for


@dataclass(frozen=True)
class CheckedReference:
    """What a network is to give, and the report to which each stage adds its comparisons.

    ``recorded`` is what the user's own network answered, where that is given. ``against`` says whose the outputs are;
    ``telling`` is the largest tolerance at which the inputs show a head that is frozen (``telling_tolerance``).
    """

    reference: TrainReference
    report: VerificationReport
    recorded: TrainReference | None = None
    tolerance: float = FLOAT32_TOLERANCE  # of comparisons with what was recorded
    against: str = TRAINED
    telling: float = math.inf

    def compared(self, stage: str, run: Runner, tolerance: float, batch: int | None = None) -> CheckedReference:
        """Return this with the comparisons of one more stage.

        Raises:
            VerificationError: it computes something else.
        """
        least = min(tolerance, self.telling)
        report = self.report.with_comparisons(*compare(stage, run, self.reference, least, batch, self.against))
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
    check_batch(config, reference.one_at_a_time)
    report = replace(new_report(reference, source, config.tolerance), assumed=config.assumed)
    checked = CheckedReference(reference, report, telling=telling_tolerance(reference, config.tolerance))
    if config.recorded is None:
        return checked
    shapes = [(each.name, each.shape) for each in entries]
    recorded = read_recorded(config.recorded, shapes, reference.names)
    run = runner(network, config.alone, one_at_a_time=bool(reference.one_at_a_time))
    found = compare("float64 network", run, recorded, config.tolerance, None, RECORDED)
    return replace(checked, report=report.with_comparisons(*found), recorded=recorded, tolerance=config.tolerance)


def check_names(config: BuildConfig, reference: TrainReference) -> None:
    """Raise OptionError where an input and an output have one name."""
    if clash := {each.name for each in config.entries} & set(reference.names):
        raise OptionError(
            expected="outputs with names of their own", found=f"one called '{min(clash)}'", advice="rename it"
        )


def check_batch(config: BuildConfig, one_at_a_time: str) -> None:
    """Raise OptionError where a file for another batch is wanted of a network that takes one input at a time."""
    if one_at_a_time and config.batch != 1:
        raise OptionError(
            expected="`batch` 1 for a network that takes one input at a time",
            found="'dynamic'" if config.batch is None else config.batch,
            advice=f"export it so, or change it: {one_at_a_time}",
        )


def lowered(captured: Captured, config: BuildConfig, formats: Sequence[str]) -> dict[str, DeployNetwork]:
    """Return the deploy form for the target in each format, in float64.

    Raises:
        OptionError: a file for another batch is wanted of what takes one input at a time.
    """
    check_batch(config, FOLLOWED if captured.graph.batch == 1 else "")

    def target(format: str) -> Target:
        graph = graph_of(format)
        found = target_for(config.target, graph, config.precision)
        return found.for_batch(config.traced_batch if graph == "onnx" else config.batch)

    return {format: lower(captured, target(format), config.lowering, config.keep_float) for format in formats}


def checked_deploy(
    captured: Captured, config: BuildConfig, deploys: Mapping[str, DeployNetwork]
) -> dict[str, CheckedReference]:
    """Return for each format the float64 reference, and the report with its deploy form's comparison.

    Raises:
        VerificationError: the reference is worth nothing, or a deploy form computes something else than the network.
    """
    checked = reference_for(captured, config)
    with threads_by_load():
        network = captured.network.module
        return {format: checked_form(checked, network, deploy, config) for format, deploy in deploys.items()}


def checked_form(
    checked: CheckedReference, network: nn.Module, deploy: DeployNetwork, config: BuildConfig
) -> CheckedReference:
    """Return the reference that files of a deploy form are compared with, the deploy form's own comparison made.

    Where weights are stored small, it is what the deploy form gives with the rounded weights, in float64: how far that
    may be from the trained network is a question of its own (``noise``).

    Raises:
        ExportError: the network's output for one input depends on the others of its batch.
        VerificationError: the deploy form computes something else, or rounding costs more than it may.
    """
    with blaming_batches(network, deploy.module, checked.reference):
        checked = _with_form(checked, deploy, config)
    if config.weights == FLOAT32:
        return checked
    stage, rounded = f"weights rounded to {config.weights}", deployable(deploy.module, config.weights).double()
    outputs = _one_by_one(rounded, checked.reference, config.alone)
    noise = measure_noise(stage, outputs, checked.reference, config.least_db, TRAINED)
    report = checked.report.with_noise(noise)
    if (recorded := checked.recorded) is not None:
        answers = _one_by_one(rounded, recorded, config.alone)
        report = report.with_noise(measure_noise(stage, answers, recorded, config.least_db, RECORDED))
    reference = replace(checked.reference, outputs=outputs)
    return CheckedReference(reference, report, against=ROUNDED, telling=checked.telling)


def _with_form(checked: CheckedReference, deploy: DeployNetwork, config: BuildConfig) -> CheckedReference:
    """Compare a deploy form, on several inputs at once where the network takes them, and the form has to."""
    run, batch = runner(deploy.module, config.alone), 1 if checked.reference.one_at_a_time else deploy.batch
    try:
        return checked.compared("deploy form", run, DEPLOY_TOLERANCE, batch)
    except DcdDeployError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever torch raises of sizes that fit one input alone
        said = f"the deploy form does not run{at(deploy.module, error)}: {first_line(error)}"
        check_batch(config, said)
    try:
        return checked.compared("deploy form", run, DEPLOY_TOLERANCE, 1)
    except DcdDeployError:
        raise
    except Exception as error:  # of one input too
        raise ExportError(f"{said}; this is a defect, please report it") from error


def _one_by_one(network: nn.Module, reference: TrainReference, alone: str) -> dict[str, Outputs]:
    """Return the outputs of a network on the inputs of a reference, under its names."""
    run = runner(network, alone)
    each = [run(tuple(values[[i]] for values in reference.inputs)) for i in range(len(reference.images))]
    return {name: np.concatenate(parts) for name, parts in zip(reference.names, zip(*each, strict=True), strict=True)}
