"""How a verification reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from dcd_deploy.reports import numbers
from dcd_deploy.reports.terminal import line, show_table
from dcd_deploy.runtimes.selfcheck import SelfCheck

if TYPE_CHECKING:  # the self-check is shown where torch is not installed
    from dcd_deploy.export.reference import Sensitivity
    from dcd_deploy.export.verify import Comparison, VerificationReport

COLUMNS = ("stage", "inputs", "max abs", "of range", "passes at", "limit", "cosine", "top-1", "")
MODES = {"one by one": "singly", "in one batch": "batched"}
MOTION_COLUMNS = ("", "moved (median)", "moved (least)", "constant in", "if frozen, outputs move")
CONSTANT = 1e-6


def show_check(screen: Console, check: VerificationReport | SelfCheck) -> None:
    """Print a verification of either kind."""
    if isinstance(check, SelfCheck):
        show_self_check(screen, check)
    else:
        show_verification(screen, check)


def show_verification(screen: Console, report: VerificationReport) -> None:
    """Print what was compared, and how well the inputs exercised the dynamic branch."""
    line(screen, f"inputs: {report.samples} {report.inputs}; output range {report.output_range:.4g}")
    if report.sensitivity is not None:
        line(
            screen, "Φ and λ make the weights anew for each picture: how far these pictures move them, and the outputs"
        )
        show_table(screen, "", MOTION_COLUMNS, _motion_rows(report.sensitivity))
    for note in report.notes:
        line(screen, f"checkpoint: {note}")
    if report.assumed:
        line(screen, f"assumed, since no tensor tells: {'; '.join(report.assumed)}")
    floor = f"(float32 alone costs the train form {numbers.error(report.float32_error)})"
    show_table(screen, f"against the float64 train form {floor}", COLUMNS, map(_row, report.comparisons), left=2)


def show_self_check(screen: Console, check: SelfCheck) -> None:
    """Print the result of a model's check on the samples that it carries."""
    line(
        screen,
        f"self-check on {check.samples} samples: error {numbers.error(check.relative)} of the range, "
        f"tolerance {numbers.error(check.tolerance)}: {'ok' if check.passed else 'FAILED'}",
    )


def _row(c: Comparison) -> tuple[str, ...]:
    errors = (c.max_abs, c.relative, c.smallest_tolerance, c.tolerance)
    verdict = "ok" if c.passed else "FAILED"
    return c.stage, MODES[c.mode], *map(numbers.error, errors), f"{c.cosine:.6f}", f"{c.top1_agreement:.0%}", verdict


def _motion_rows(sensitivity: Sensitivity) -> list[tuple[str, ...]]:
    motions = (
        ("Φ", sensitivity.phi_variation, sensitivity.frozen_phi),
        ("λ", sensitivity.scale_variation, sensitivity.frozen_scale),
    )
    return [_motion_row(*motion) for motion in motions]


def _motion_row(symbol: str, variation: dict[str, float], frozen: float) -> tuple[str, ...]:
    values = sorted(variation.values())
    still = sum(value < CONSTANT for value in values)
    median, least = numbers.percent(values[len(values) // 2]), numbers.percent(values[0])
    return symbol, median, least, f"{still} of {len(values)} layers", numbers.percent(frozen)
