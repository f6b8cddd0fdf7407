"""The gate of files that compute in int8 or float16: what is left of the outputs on images, and of the accuracy.

    SNR of the logits    at least 20 dB (int8), 30 dB (float16), against the float32 file, which is within 5e-5 of the
                         float64 network
    top-1, with labels   at most 1 point lost, or two images

What the file itself answers on the generated inputs travels with it: another machine is to answer the same, but for
steps that it rounds another way (``INT8_TOLERANCE``).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dcd_deploy.artifacts import FLOAT16
from dcd_deploy.errors import InputFileError, VerificationError
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.calibration import ADVICE, Calibration
from dcd_deploy.export.checked_reference import CheckedReference
from dcd_deploy.export.noise import least_computed, measure_noise
from dcd_deploy.export.truth import Outputs, TrainReference
from dcd_deploy.export.verify import CALIBRATED, QUANTISED, Accuracy, Runner
from dcd_deploy.samples import Inputs

MOST_LOST, LEAST_LOST = 1.0, 2  # points of top-1; images, of few
MOST_ELSEWHERE = 32  # images, in runtimes that may be slow
NOISY = "calibrate on images like those that the network will see, or keep layers in float32 with `keep_float`"


def float_answers(run: Runner, calibration: Calibration, names: tuple[str, ...]) -> TrainReference:
    """Return what the float32 graph answers on the calibration images.

    Raises:
        InputFileError: it takes all of them for one class.
    """
    right = TrainReference(calibration.inputs, answers(run, calibration.inputs, names))
    if len(names) == 1 and right.outputs[names[0]].ndim == 2 and right.outputs[names[0]].shape[1] > 1:
        decided = np.unique(right.outputs[names[0]].argmax(axis=1))
        if len(decided) == 1 and len(calibration.manifest.sha256):
            raise InputFileError(
                expected=f"calibration images of several classes in '{calibration.source}'",
                found=f"{len(calibration.images)} that the network takes for class {decided[0]}",
                advice=ADVICE,
            )
    return right


def judged(
    checked: CheckedReference, stage: str, run: Runner, right: TrainReference, config: BuildConfig
) -> CheckedReference:
    """Return the reference with what the int8 graph answers in it, once that is near enough to ``right``.

    Raises:
        VerificationError: it is not.
    """
    outputs = answers(run, right.inputs, right.names)
    least = least_computed(config.precision) if config.judged else None
    report = checked.report.with_noise(measure_noise(stage, outputs, right, least, CALIBRATED, NOISY))
    if (found := accuracy(outputs, right, config)) is not None:
        report = replace(report, accuracy=found)
        if config.judged and found.lost_images > max(LEAST_LOST, MOST_LOST / 100 * len(right.images)):
            raise VerificationError(
                f"{stage}: expected at most {MOST_LOST:g} point of top-1 less than float32 on {len(right.images)} "
                f"calibration images, found {found.lost:.2f} ({found.float_top1:.2%} to {found.top1:.2%}); {NOISY}",
                report,
            )
    carried = answers(run, checked.reference.inputs, right.names)
    if not all(np.isfinite(values).all() for values in carried.values()):
        raise VerificationError(f"{stage}: expected finite outputs, found NaN or infinity", report)
    if config.precision == FLOAT16:  # which is to be near the network with the rounded weights, wherever it runs
        return replace(checked, report=report)
    return replace(checked, report=report, reference=replace(checked.reference, outputs=carried), against=QUANTISED)


def judged_elsewhere(
    checked: CheckedReference, stage: str, run: Runner, right: TrainReference, config: BuildConfig
) -> CheckedReference:
    """Return the check with what an int8 graph keeps in one more runtime, which rounds in its own way, on some images.

    Raises:
        VerificationError: it is too little.
    """
    places = np.linspace(0, len(right.images) - 1, min(len(right.images), MOST_ELSEWHERE)).round().astype(int)
    inputs = tuple(values[places] for values in right.inputs)
    some = replace(right, inputs=inputs, outputs={name: values[places] for name, values in right.outputs.items()})
    least = least_computed(config.precision) if config.judged else None
    noise = measure_noise(stage, answers(run, inputs, right.names), some, least, CALIBRATED, NOISY)
    return replace(checked, report=checked.report.with_noise(noise))


def accuracy(outputs: dict[str, Outputs], right: TrainReference, config: BuildConfig) -> Accuracy | None:
    """Return the top-1 of a classifier in float32 and in int8; None where there are no labels for its classes."""
    labels = None if config.calibration is None else config.calibration.labels
    wanted = right.outputs[right.names[0]]
    if labels is None or wanted.ndim != 2 or len(right.names) > 1 or max(labels) >= wanted.shape[1]:
        return None
    before, after = (np.sum(values.argmax(axis=1) == labels) for values in (wanted, outputs[right.names[0]]))
    return Accuracy(len(labels), int(before), int(after))


def answers(run: Runner, inputs: Inputs, names: tuple[str, ...]) -> dict[str, Outputs]:
    """Return the outputs by name on inputs (N, …), one by one."""
    each = [run(tuple(values[i : i + 1] for values in inputs)) for i in range(len(inputs[0]))]
    return {
        n: np.concatenate(parts).astype(np.float64) for n, parts in zip(names, zip(*each, strict=True), strict=True)
    }
