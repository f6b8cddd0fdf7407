"""How the tuning of a network reads."""

from __future__ import annotations

import shlex

from rich.console import Console

from dcd_deploy.reports.terminal import line, show_table
from dcd_deploy.reports.wording import environment_line
from dcd_deploy.tuning.choice import QUICKER, UNDECIDED
from dcd_deploy.tuning.layer_model import STATIC
from dcd_deploy.tuning.lowering_file import TunedLowering
from dcd_deploy.tuning.tune import TunedShape, TuneResult

MARKS = {QUICKER: "measured", UNDECIDED: "rule (too noisy to tell)"}


def show_tuning(
    screen: Console,
    result: TuneResult,
    checkpoint: str,
    out: str | None,
    network: str | None = None,
    network_args: str | None = None,
) -> None:
    """Print the time of each lowering of each shape, what was chosen and why, and what to do with it.

    ``network`` and ``network_args`` are the options that the user's own network was given by.
    """
    lowering = result.lowering
    forms = list(dict.fromkeys(form for shape in result.shapes for form in shape.median_us if form != STATIC))
    columns = ("layer", "layers", "static µs", *forms, "taken", "because of", "over the rule's")
    runtime = f"{lowering.runtime} {lowering.runtime_version}"
    title = f"{runtime} on {lowering.device}, threads: {result.threads}; µs of a layer with its neighbours"
    show_table(screen, title, columns, (_row(shape, forms) for shape in result.shapes))
    changed = sum(shape.choice.reason == QUICKER for shape in result.shapes)
    shapes = len(result.shapes)
    line(screen, f"{changed} of {shapes} shapes get another lowering than the rule of {lowering.target} takes")
    if result.undecided:
        line(
            screen,
            f"! the machine was too noisy to decide for {result.undecided} of them, which keep the rule's; close "
            "other programs and tune again",
        )
    line(screen, environment_line(result.environment))
    if out is not None:
        words = ["dcd-deploy", "export", checkpoint, "--to", lowering.format]
        words += [*_network_words(lowering, network, network_args), "--lowering", out]
        line(screen, f"wrote {out}; next: {shlex.join(words)}")


def _network_words(lowering: TunedLowering, network: str | None, network_args: str | None) -> list[str]:
    (_, *sides), *_ = lowering.inputs
    if network is None:
        return ["--input-size", "x".join(map(str, sides))]
    arguments = ["--network-args", network_args] if network_args else []
    return ["--network", network, *arguments, "--input-shape", ",".join(map(str, lowering.inputs[0]))]


def _row(shape: TunedShape, forms: list[str]) -> tuple[str, ...]:
    choice = shape.choice
    times = (_microseconds(shape.median_us[form]) if form in shape.median_us else "–" for form in forms)
    gain = choice.ratios.get(choice.form)
    return (
        shape.case.title,
        str(len(shape.layers)),
        _microseconds(shape.median_us[STATIC]),
        *times,
        choice.form,
        MARKS.get(choice.reason, "rule"),
        "" if gain is None else f"{gain.median:.2f} ({gain.low:.2f}–{gain.high:.2f})",
    )


def _microseconds(us: float) -> str:
    return f"{us:.1f}" if us < 10 else f"{us:.0f}"
