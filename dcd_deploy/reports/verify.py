"""How a verification reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console

from dcd_deploy.reports import terminal as numbers
from dcd_deploy.reports.counts import NONE
from dcd_deploy.reports.terminal import line, show_table

if TYPE_CHECKING:  # the self-check is shown where torch is not installed
    from dcd_deploy.export.noise import Noise
    from dcd_deploy.export.truth import Sensitivity
    from dcd_deploy.export.verify import Comparison, VerificationReport
    from dcd_deploy.runtimes.selfcheck import SelfCheck

COLUMNS = ("stage", "inputs", "max abs", "of range", "passes at", "limit", "cosine", "top-1", "")
MODES = {"one by one": "singly", "in one batch": "batched"}
NOISE_COLUMNS = ("stage", "signal over noise", "at least", "top-1", "")
MOTION_COLUMNS = ("", "moved (median)", "moved (least)", "constant in", "if frozen, outputs move")
CONSTANT = 1e-6


def show_verification(screen: Console, report: VerificationReport, request: Mapping[str, Any]) -> None:
    """Print what was compared; with ``verbose`` also how well the inputs exercised the dynamic layers."""
    if request.get("verbose"):
        show_inputs(screen, report)
    for note in report.notes:
        line(screen, note)
    show_comparisons(screen, report)
    if report.assumed:
        line(screen, f"assumed, since no tensor tells: {'; '.join(report.assumed)}")


def show_inputs(screen: Console, report: VerificationReport) -> None:
    """Print on what was compared, and how far these inputs move the weights that are made anew for each."""
    line(screen, f"inputs: {report.samples} {report.inputs}; output range {_ranges(report.output_ranges)}")
    if report.sensitivity is not None:
        heads = " and ".join(_symbol(head) for head in report.sensitivity.variation)
        line(screen, f"{heads} make the weights anew for each input: how far these inputs move them, and the outputs")
        show_table(screen, "", MOTION_COLUMNS, _motion_rows(report.sensitivity))


def show_comparisons(screen: Console, report: VerificationReport) -> None:
    """Print each comparison with its limit."""
    if report.comparisons:
        show_table(screen, _title(report), COLUMNS, map(_row, report.comparisons), left=2)
    if report.noise:
        show_table(screen, "what rounding the weights costs", NOISE_COLUMNS, map(_noise_row, report.noise), left=1)


def _ranges(ranges: dict[str, float]) -> str:
    if len(ranges) == 1:
        return f"{next(iter(ranges.values())):.4g}"
    return ", ".join(f"{value:.4g} of {name}" for name, value in ranges.items())


def _title(report: VerificationReport) -> str:
    if report.float32_error is None:
        return f"against the {report.inputs}"
    return f"against the float64 network (float32 alone costs it {numbers.error(report.float32_error)})"


def show_self_check(screen: Console, check: SelfCheck) -> None:
    """Print the result of a model's check on the samples that it carries."""
    for note in check.notes:
        line(screen, note)
    line(
        screen,
        f"self-check on {check.samples} samples: error {numbers.error(check.relative)} of the range, "
        f"tolerance {numbers.error(check.tolerance)}: {'ok' if check.passed else 'FAILED'}",
    )


def _row(c: Comparison) -> tuple[str, ...]:
    errors = (c.max_abs, c.relative, c.smallest_tolerance, c.tolerance)
    stage = c.stage + (f", {c.output}" if c.output else "") + _against(c.against)
    cosine = NONE if c.cosine is None else f"{c.cosine:.6f}"
    agreement = NONE if c.top1_agreement is None else f"{c.top1_agreement:.0%}"
    verdict = "ok" if c.passed else "FAILED"
    return stage, MODES[c.mode], *map(numbers.error, errors), cosine, agreement, verdict


def _noise_row(noise: Noise) -> tuple[str, ...]:
    stage = noise.stage + (f", {noise.output}" if noise.output else "") + _against(noise.against)
    least = NONE if noise.least_db is None else f"{noise.least_db:.0f} dB"
    agreement = NONE if noise.top1_agreement is None else f"{noise.top1_agreement:.0%}"
    return stage, f"{noise.snr_db:.1f} dB", least, agreement, "ok" if noise.passed else "FAILED"


def _against(name: str) -> str:
    """Say with what a stage was compared, where that is not the trained network."""
    from dcd_deploy.export.verify import RECORDED, ROUNDED

    return {RECORDED: ", as recorded", ROUNDED: ", with rounded weights"}.get(name, "")


def _symbol(head: str) -> str:
    from dcd_deploy.export.truth import SYMBOLS

    return SYMBOLS.get(head, head)


def _motion_rows(sensitivity: Sensitivity) -> list[tuple[str, ...]]:
    heads = sensitivity.variation
    return [_motion_row(_symbol(head), heads[head], sensitivity.frozen[head]) for head in heads]


def _motion_row(symbol: str, variation: dict[str, float], frozen: float) -> tuple[str, ...]:
    values = sorted(variation.values())
    still = sum(value < CONSTANT for value in values)
    median, least = numbers.percent(values[len(values) // 2]), numbers.percent(values[0])
    return symbol, median, least, f"{still} of {len(values)} layers", numbers.percent(frozen)
