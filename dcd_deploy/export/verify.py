"""Verification as a gate: every stage against the float64 network, on inputs that exercise its dynamic layers.

Each stage runs on every input alone and on all of them in one batch (where its batch size allows), since a kernel of
one sample applied to another shows only there. An error is the largest absolute difference over one output and all
inputs, relative to the range of that output in the reference; of several outputs the worst decides.

Tolerances, each with its argument:

    DEPLOY 1e-9    the folds are identities; float64 leaves about 1e-14
    FLOAT32 5e-5   float32 leaves 1e-7 to 1e-5 on these networks, depending on the order of sums; a weight tensor off by
                   one percent moves the outputs by 1e-4 and more (tests/test_gate.py plants such faults)
                   less where the inputs exercise a head little: a tenth of what freezing it does (``telling``)
    recorded 5e-5  what the user's own network answered, in float32 on whatever device, against the float64 network and
                   against every stage. Two roundings of one function meet: theirs and ours, each 1e-7 to 1e-5, in
                   another order of sums; so the limit that one of them bears, bears both. Another function is off by
                   far more: a stride, another BatchNorm eps, a lost "+ q" or another gate by 1e-3 to several times the
                   range (tests/test_recorded.py plants them). Answers of reduced precision (TF32, autocast) are off by
                   1e-3 too, and are refused as well, rightly: nothing tells them from another network. Answers that
                   were only stored in half precision stand for the interval that rounds to them.

Needs numpy alone: a model file is compared with recorded answers where there is no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.artifacts import FLOAT32_TOLERANCE
from dcd_deploy.errors import VerificationError
from dcd_deploy.export.noise import Noise
from dcd_deploy.export.telling import notes_on_sensitivity
from dcd_deploy.export.truth import Outputs, Sensitivity, TrainReference
from dcd_deploy.samples import Inputs

DEPLOY_TOLERANCE = 1e-9
LARGEST_BATCH = 16  # of inputs that come in any number

TRAINED = "the trained network's"
ROUNDED = "those of the network with the rounded weights, in float64"
CALIBRATED = "those of the float32 file on the calibration images"
QUANTISED = "those of the int8 file, when it was made"
RECORDED = "your network's recorded answers"

Runner = Callable[[Inputs], Sequence[NDArray[np.floating]]]


@dataclass(frozen=True)
class Comparison:
    """One stage against the reference, with its inputs ``mode``: "one by one" or "in one batch".

    Of several outputs it is the worst, named; ``cosine`` and ``top1_agreement`` are of outputs (N, classes) alone.
    ``against`` is what it was compared with.
    """

    stage: str
    mode: str
    max_abs: float
    relative: float
    cosine: float | None
    top1_agreement: float | None
    tolerance: float
    output: str | None = None
    against: str = TRAINED

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance (NaN is not)."""
        return self.relative <= self.tolerance

    @property
    def smallest_tolerance(self) -> float:
        """The smallest tolerance that would pass, rounded up to two digits."""
        return _round_up(self.relative)


@dataclass(frozen=True)
class Accuracy:
    """How many of so many labelled calibration ``images`` are answered rightly, in float32 and in int8."""

    images: int
    float_right: int
    right: int

    @property
    def float_top1(self) -> float:
        """The share in float32."""
        return self.float_right / self.images

    @property
    def top1(self) -> float:
        """The share in int8."""
        return self.right / self.images

    @property
    def lost_images(self) -> int:
        """How many more are answered wrongly."""
        return self.float_right - self.right

    @property
    def lost(self) -> float:
        """The same in points of top-1."""
        return 100 * self.lost_images / self.images


@dataclass(frozen=True)
class VerificationReport:
    """All comparisons of one export or one later check.

    ``assumed`` are the lines that say what no tensor tells of the network, and which option sets it; ``notes`` say
    what was done to the checkpoint's keys, and what was not checked, and why.
    """

    inputs: str
    samples: int
    output_ranges: dict[str, float]
    float32_error: float | None
    sensitivity: Sensitivity | None
    comparisons: tuple[Comparison, ...] = ()
    assumed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    noise: tuple[Noise, ...] = ()  # what rounding the weights costs
    accuracy: Accuracy | None = None  # of a file that computes in int8

    @property
    def passed(self) -> bool:
        """Whether there are comparisons, or noise was measured, and all are within their limits."""
        passed = [check.passed for check in self.comparisons] + [noise.passed for noise in self.noise]
        return bool(passed) and all(passed)

    def with_noise(self, noise: Noise) -> VerificationReport:
        """Return the report with what rounding costs, which has to be borne.

        Raises:
            VerificationError: it is too much; the error carries the report.
        """
        report = replace(self, noise=(*self.noise, noise))
        if not noise.passed:
            raise VerificationError(noise.explanation(), report)
        return report

    def with_comparisons(self, *comparisons: Comparison) -> VerificationReport:
        """Return the report with more comparisons, each of which has to pass.

        Raises:
            VerificationError: one does not; it carries the report.
        """
        report = replace(self, comparisons=self.comparisons + comparisons)
        for comparison in comparisons:
            if not comparison.passed:
                raise VerificationError(_explain(comparison, report), report)
        return report


def new_report(reference: TrainReference, inputs: str, tolerance: float = FLOAT32_TOLERANCE) -> VerificationReport:
    """Return a report without comparisons, once the inputs are shown to be worth comparing on.

    Raises:
        VerificationError: the reference is not finite, or hardly depends on a head on these inputs.
    """
    ranges = {name: float(np.ptp(values)) for name, values in reference.outputs.items()}
    for name, values in reference.outputs.items():
        if not np.isfinite(values).all() or not ranges[name]:
            which = f", as output '{name}' shows" if len(ranges) > 1 else ""
            raise VerificationError(
                "the trained network itself gives no finite, varied outputs on the verification inputs"
                f"{which}; check the weights, or pass real pictures with `samples`"
            )
    notes = notes_on_sensitivity(reference, tolerance)
    return VerificationReport(
        inputs, len(reference.images), ranges, reference.float32_error, reference.sensitivity, notes=notes
    )


def compare(
    stage: str,
    run: Runner,
    reference: TrainReference,
    tolerance: float,
    batch: int | None = None,
    against: str = TRAINED,
) -> tuple[Comparison, ...]:
    """Compare what ``run`` gives with the reference, input by input and in one batch.

    A ``batch`` of None is free; of 1 there is nothing to batch; with any other, inputs are repeated to fill it.
    """
    each = np.arange(len(reference.images))
    modes = {"one by one": list(np.repeat(each[:, None], batch or 1, axis=1))}
    if batch is None:
        modes["in one batch"] = [each[i : i + LARGEST_BATCH] for i in range(0, len(each), LARGEST_BATCH)]
    elif batch > 1:
        modes["in one batch"] = list(np.resize(each, (-(-len(each) // batch), batch)))
    return tuple(
        replace(_compare_batches(stage, mode, run, reference, order, tolerance), against=against)
        for mode, order in modes.items()
    )


def _compare_batches(
    stage: str,
    mode: str,
    run: Runner,
    reference: TrainReference,
    order: Sequence[NDArray[np.intp]],
    tolerance: float,
) -> Comparison:
    """Compare batch by batch; ``order`` names the inputs of each."""
    answers = [tuple(run(tuple(values[batch] for values in reference.inputs))) for batch in order]
    rows = np.concatenate(order)
    if any(len(answer) != len(reference.names) for answer in answers):
        raise VerificationError(f"{stage}: expected outputs {reference.names}, found {len(answers[0])} of them")
    found = {
        name: _gathered(stage, name, parts, reference.outputs[name].shape[1:], len(rows))
        for name, parts in zip(reference.names, zip(*answers, strict=True), strict=True)
    }
    errors = {name: reference.distance(name, values, rows) for name, values in found.items()}
    with np.errstate(invalid="ignore", divide="ignore"):  # infinite or zero outputs make NaN, and NaN does not pass
        relative = {name: float(np.float64(error) / reference.range(name)) for name, error in errors.items()}
    worst = max(relative, key=lambda name: math.inf if math.isnan(relative[name]) else relative[name])
    cosine, agreement = _agreement(found[worst], reference.outputs[worst][rows])
    named = worst if len(relative) > 1 else None
    return Comparison(stage, mode, errors[worst], relative[worst], cosine, agreement, tolerance, named)


def _gathered(
    stage: str, name: str, parts: Sequence[NDArray[np.floating]], shape: tuple[int, ...], count: int
) -> Outputs:
    """Return an output of all batches (count, *shape)."""
    shapes = {np.shape(part)[1:] for part in parts}
    if shapes != {shape} or sum(len(part) for part in parts) != count:
        found = " and ".join(sorted({str(np.shape(part)) for part in parts}))
        raise VerificationError(
            f"{stage}: expected output '{name}' of shape {(count, *shape)}, an entry for each of {count} inputs, found "
            f"{found}; return outputs that begin with the batch, or export at `batch` 1"
        )
    return np.concatenate(parts).astype(np.float64)


def _agreement(found: Outputs, wanted: Outputs) -> tuple[float | None, float | None]:
    """Return the smallest cosine and the share of equal answers of outputs (N, classes); None of any other."""
    if found.ndim != 2:
        return None, None
    with np.errstate(invalid="ignore", divide="ignore"):
        norms = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
        cosine = float(np.min((found * wanted).sum(axis=1) / norms))
    return cosine, float(np.mean(found.argmax(axis=1) == wanted.argmax(axis=1)))


def _explain(comparison: Comparison, report: VerificationReport) -> str:
    which = f"output '{comparison.output}'" if comparison.output else "outputs"
    text = (
        f"{comparison.stage}, inputs {comparison.mode}: expected {which} within {comparison.tolerance:.1e} of "
        f"{comparison.against} (relative to their range), found {comparison.relative:.2e}; "
        f"it would pass at {comparison.smallest_tolerance:.1e}"
    )
    if comparison.against == RECORDED:
        assumed = f": {'; '.join(report.assumed)}" if report.assumed else ""
        return f"{text}; what no tensor tells was assumed{assumed}; or they were not recorded in full float32"
    # not of the tolerance asked for: a tiny one makes none restless
    restless = report.float32_error is not None and report.float32_error > FLOAT32_TOLERANCE / 10
    hint = f"; this network amplifies rounding ({report.float32_error:.0e} by itself): try real pictures with `samples`"
    return f"{text}{hint if restless else ''}"


def _round_up(value: float) -> float:
    """Round up to two significant digits."""
    if not value > 0 or not math.isfinite(value):
        return value
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / unit) * unit
