"""Verification as a gate: every stage against the float64 train form, on inputs that exercise the dynamic branch.

Each stage runs on every input alone and on all of them in one batch (where its batch size allows), since a kernel of
one sample applied to another shows only there. An error is the largest absolute difference over all outputs and
inputs, relative to the range of the reference outputs.

Tolerances, each with its argument:

    DEPLOY 1e-9    the folds are identities; float64 leaves about 1e-14
    FLOAT32 5e-5   float32 leaves 1e-7 to 1e-5 on these networks, depending on the order of sums; a weight tensor off by
                   one percent moves the outputs by 1e-4 and more (tests/test_gate.py plants such faults)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.artifacts import FLOAT32_TOLERANCE
from dcd_deploy.errors import VerificationError
from dcd_deploy.export.reference import Sensitivity, TrainReference
from dcd_deploy.samples import Images

DEPLOY_TOLERANCE = 1e-9
SENSITIVITY_MARGIN = 10.0  # freezing Φ or λ has to move the outputs by this many tolerances

Runner = Callable[[Images], NDArray[np.floating]]


@dataclass(frozen=True)
class Comparison:
    """One stage against the reference, with its inputs ``mode``: "one by one" or "in one batch"."""

    stage: str
    mode: str
    max_abs: float
    relative: float
    cosine: float
    top1_agreement: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance (NaN is not)."""
        return self.relative <= self.tolerance

    @property
    def smallest_tolerance(self) -> float:
        """The smallest tolerance that would pass, rounded up to two digits."""
        return _round_up(self.relative)


@dataclass(frozen=True)
class VerificationReport:
    """All comparisons of one export or one later check.

    ``assumed`` are the lines that say what no tensor tells of the network, and which option sets it; ``notes`` say
    what was done to the checkpoint's keys.
    """

    inputs: str
    samples: int
    output_range: float
    float32_error: float
    sensitivity: Sensitivity | None
    comparisons: tuple[Comparison, ...] = ()
    assumed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether there are comparisons and all are within their tolerances."""
        return bool(self.comparisons) and all(comparison.passed for comparison in self.comparisons)

    def with_comparisons(self, *comparisons: Comparison) -> VerificationReport:
        """Return the report with more comparisons, each of which has to pass.

        Raises:
            VerificationError: one does not; it carries the report.
        """
        report = replace(self, comparisons=self.comparisons + comparisons)
        for comparison in comparisons:
            if not comparison.passed:
                raise VerificationError(_explain(comparison, report.float32_error), report)
        return report


def new_report(reference: TrainReference, inputs: str, tolerance: float = FLOAT32_TOLERANCE) -> VerificationReport:
    """Return a report without comparisons, once the inputs are shown to be worth comparing on.

    Raises:
        VerificationError: the reference is not finite, or hardly depends on Φ or λ on these inputs.
    """
    if not np.isfinite(reference.outputs).all() or reference.range == 0:
        raise VerificationError(
            "the trained network itself gives no finite, varied outputs on the verification inputs; check the weights, "
            "or pass real pictures with --samples"
        )
    _check_sensitivity(reference.sensitivity, tolerance)
    return VerificationReport(
        inputs, len(reference.images), reference.range, reference.float32_error, reference.sensitivity
    )


def compare(
    stage: str, run: Runner, reference: TrainReference, tolerance: float, batch: int | None = None
) -> tuple[Comparison, ...]:
    """Compare what ``run`` gives with the reference, input by input and in one batch.

    A ``batch`` of None is free; of 1 there is nothing to batch; with any other, inputs are repeated to fill it.
    """
    each = np.arange(len(reference.images))
    modes = {"one by one": np.repeat(each[:, None], batch or 1, axis=1)}
    if batch is None:
        modes["in one batch"] = each[None]
    elif batch > 1:
        modes["in one batch"] = np.resize(each, (-(-len(each) // batch), batch))
    return tuple(_compare_batches(stage, mode, run, reference, order, tolerance) for mode, order in modes.items())


def _compare_batches(
    stage: str, mode: str, run: Runner, reference: TrainReference, order: NDArray[np.intp], tolerance: float
) -> Comparison:
    """Compare batch by batch; ``order`` (batches, batch) names the inputs of each."""
    found = np.concatenate([run(reference.images[batch]) for batch in order]).astype(np.float64)
    wanted = reference.outputs[order.ravel()]
    if found.shape != wanted.shape:
        raise VerificationError(f"{stage}: expected outputs of shape {wanted.shape}, found {found.shape}")
    with np.errstate(invalid="ignore", divide="ignore"):  # infinite or zero outputs make NaN, and NaN does not pass
        max_abs = float(np.abs(found - wanted).max())
        norms = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
        cosine = float(np.min((found * wanted).sum(axis=1) / norms))
    agreement = float(np.mean(found.argmax(axis=1) == wanted.argmax(axis=1)))
    return Comparison(stage, mode, max_abs, max_abs / reference.range, cosine, agreement, tolerance)


def _check_sensitivity(sensitivity: Sensitivity | None, tolerance: float) -> None:
    if sensitivity is None:
        return
    for symbol, effect in (("Φ", sensitivity.frozen_phi), ("λ", sensitivity.frozen_scale)):
        if not effect >= SENSITIVITY_MARGIN * tolerance:
            raise VerificationError(
                f"the verification inputs do not exercise {symbol}: freezing it moves the outputs by {effect:.1e} of "
                f"their range, and {SENSITIVITY_MARGIN * tolerance:.1e} is needed to tell; pass real pictures with "
                "--samples"
            )


def _explain(comparison: Comparison, float32_error: float) -> str:
    restless = float32_error > FLOAT32_TOLERANCE / 10  # not of the tolerance asked for: a tiny one makes none restless
    hint = f"; this network amplifies rounding ({float32_error:.0e} by itself): try real pictures with --samples"
    return (
        f"{comparison.stage}, inputs {comparison.mode}: expected outputs within {comparison.tolerance:.1e} of the "
        f"trained network's (relative to their range), found {comparison.relative:.2e}; "
        f"it would pass at {comparison.smallest_tolerance:.1e}{hint if restless else ''}"
    )


def _round_up(value: float) -> float:
    """Round up to two significant digits."""
    if not value > 0 or not math.isfinite(value):
        return value
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / unit) * unit
