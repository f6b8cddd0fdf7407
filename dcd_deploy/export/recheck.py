"""The full check of an exported file, at any later time: against the float64 train form of its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dcd_deploy.artifacts import FLOAT32, FLOAT32_TOLERANCE, ModelCard
from dcd_deploy.errors import ModelFileError, OptionError, UnknownNameError, VerificationError
from dcd_deploy.export.build_config import BuildConfig, samples_for
from dcd_deploy.export.checked_reference import CheckedReference, checked_form, lowered, reference_for
from dcd_deploy.export.input_type import taking_input
from dcd_deploy.export.noise import LEAST_AT_ALL_DB, least_computed, measure_noise
from dcd_deploy.export.quantised import NOISY, answers
from dcd_deploy.export.recorded import described_inputs, limit_of
from dcd_deploy.export.verify import TRAINED, VerificationReport
from dcd_deploy.lowering.capture import Captured
from dcd_deploy.lowering.targets import PORTABLE
from dcd_deploy.models.checkpoint import Checkpoint
from dcd_deploy.progress import Progress, silent
from dcd_deploy.runtimes.model import Model
from dcd_deploy.runtimes.selfcheck import self_check
from dcd_deploy.samples import InputSpec

SAMPLED = "give the checkpoint that it was made of, or `samples` like the images that it was calibrated on"


def verify_against_network(
    model: Model,
    captured: Captured,
    checkpoint: Checkpoint,
    *,
    assumed: tuple[str, ...] = (),
    ema: bool = False,
    tolerance: float | None = None,
    samples: Path | None = None,
    recorded: Path | None = None,
    stage: str = "model file",
    progress: Progress = silent,
) -> VerificationReport:
    """Compare an opened model with the network that it is to be; ``stage`` is what reports call it.

    With ``recorded``, what the user's own network answered is compared with both, too. A file whose weights are stored
    small is compared with the network whose weights are rounded as its are (``checked_reference``). Without a
    ``tolerance`` it is the file's own, but never more than ``FLOAT32_TOLERANCE``: the file is what is on trial.

    Raises:
        VerificationError: it computes something else; the message begins by saying so if the file was made from
            another checkpoint.
    """
    card = model.described()
    config = _config(card, tolerance, samples, recorded)
    if samples is not None:
        samples_for(config)
    try:
        _check_outputs(card, captured)
        with progress("reference outputs in float64"):
            checked = _reference(model, taking_input(captured, config), config)
        with progress("verify the model"):
            report = _compared(stage, model, checked, config)
        return replace(report, assumed=assumed, notes=(*report.notes, *checkpoint.notes))
    except VerificationError as error:
        message = f"{_other_checkpoint(card, checkpoint)}{error}{_other_copy(checkpoint, ema=ema)}"
        raise VerificationError(message, error.report) from error


def _reference(model: Model, captured: Captured, config: BuildConfig) -> CheckedReference:
    """Return what a file is compared with.

    Raises:
        ModelFileError: it says an order of computation that this version cannot repeat.
    """
    checked = reference_for(captured, config)
    if config.weights == FLOAT32:
        return checked
    try:
        deploy = lowered(captured, config, [model.format])[model.format]
    except (OptionError, UnknownNameError) as error:
        raise ModelFileError(
            expected="a file whose order of computation this version knows, to round the weights as it did",
            but=str(error),
            advice="export it again",
        ) from error
    return checked_form(checked, captured.network.module, deploy, config)


def _compared(stage: str, model: Model, checked: CheckedReference, config: BuildConfig) -> VerificationReport:
    """Compare a file's outputs; of one in int8 by signal over noise, and with what it answered when it was made.

    Its ranges are those of real pictures: on generated ones, part of which they cut off, no more is asked for than what
    tells the network from another.
    """
    precision = model.described().precision.format
    if precision == FLOAT32:
        return checked.compared(stage, model.session.run_all, config.tolerance, config.batch).report
    if model.described().reference is not None:
        self_check(model).checked()
    found = answers(model.session.run_all, checked.reference.inputs, checked.reference.names)
    least, advice = (LEAST_AT_ALL_DB, SAMPLED) if config.samples is None else (least_computed(precision), NOISY)
    noise = measure_noise(f"{stage}, in {precision}", found, checked.reference, least, TRAINED, advice)
    return checked.report.with_noise(noise)


def _config(card: ModelCard, tolerance: float | None, samples: Path | None, recorded: Path | None) -> BuildConfig:
    return BuildConfig(
        card.preprocessing,
        batch=card.input.shape[0],
        tolerance=limit_of(card, tolerance) if card.precision.format == FLOAT32 else FLOAT32_TOLERANCE,
        samples=samples,
        inputs=tuple(InputSpec(name, shape) for name, shape in described_inputs(card)),
        alone=card.output.name,
        recorded=recorded,
        assumed=card.assumed,
        lowering=card.lowering,
        target=card.target or PORTABLE,
        weights=card.weights.format,
        input_type=card.input_type,
    )


def _check_outputs(card: ModelCard, captured: Captured) -> None:
    """Raise VerificationError where the network and the model have other outputs, by number or shape."""
    wanted = [tuple(one.shape[1:]) for one in captured.network.run(*captured.network.examples)]
    found = [tuple(output.torch_shape[1:]) for output in card.outputs]
    if wanted == found:
        return
    if len(wanted) == len(found) == 1 and len(wanted[0]) == len(found[0]) == 1:
        raise VerificationError(
            f"the checkpoint has {wanted[0][0]} classes, the model {found[0][0]}; give the one it was made of"
        )
    raise VerificationError(
        f"the network has outputs {_shapes(wanted)}, the model {_shapes(found)}; give the checkpoint that it was "
        "made of"
    )


def _shapes(shapes: Sequence[tuple[int | None, ...]]) -> str:
    return " and ".join(f"({', '.join(map(str, shape))})" for shape in shapes)


def _other_checkpoint(card: ModelCard, checkpoint: Checkpoint) -> str:
    if card.checkpoint_sha256 == checkpoint.sha256:
        return ""
    made_from, given = card.checkpoint_sha256[:12], checkpoint.sha256[:12]
    return f"the model was made from another checkpoint (sha256 {made_from}…, not {given}…): "


def _other_copy(checkpoint: Checkpoint, *, ema: bool) -> str:
    if not checkpoint.has_average:
        return ""
    advice = "leave out `ema`" if ema else "try `ema`"
    return f"; the checkpoint also holds {'a trained' if ema else 'an averaged'} copy of the weights: {advice}"
