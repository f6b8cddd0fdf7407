"""The page's section of counts: for each model and core a table and its ratios to the static twin, and assumptions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dcd_deploy.benchmarks.counts import CountSection, CountTrial
from dcd_deploy.benchmarks.results import MODEL
from dcd_deploy.reports import counts_wording
from dcd_deploy.reports.counts_wording import ROWS
from dcd_deploy.reports.markup import Markup, element, join
from dcd_deploy.reports.page_parts import section as part
from dcd_deploy.reports.plotting import ROW, Figure, Trace, bar, rows_layout, upright

SAID = (
    "What one run makes the core do, beside the static twin. Nothing here is a time, and no time follows from it: an "
    "emulated core has none."
)


def counted(section: CountSection, drawn: Sequence[Markup]) -> Markup:
    """Return the section; ``drawn`` has for each trial the place of its plot, or nothing."""
    trials = (
        _trial(trial, number, plot) for number, (trial, plot) in enumerate(zip(section.trials, drawn, strict=True), 1)
    )
    basis = [element("li", text) for text in counts_wording.counts_basis(section)]
    rests = element(
        "div", element("h3", "What the counts rest on", class_="small"), element("ul", *basis), class_="card"
    )
    return part(counts_wording.HEADING, element("p", SAID), _across(section), *trials, rests, id_="counts")


def count_ratios(trial: CountTrial) -> Figure | None:
    """Return the ratios of a trial's counts to those of the static twin as bars, with a line at 1."""
    found = counts_wording.static_ratios(trial)
    values = [] if found is None else [(name, getattr(found, name)) for name in counts_wording.counted_names(trial)]
    shown = [(name, value) for name, value in values if value is not None]
    if not shown:
        return None
    last = len(shown) - 1
    names = [(last - i, f"{ROWS[name]}: {value:.3f}") for i, (name, value) in enumerate(shown)]
    layout = rows_layout(names, ROW, "times as many as the static twin")
    dashed = {"color": "@ink", "width": 1.5, "dash": "dash"}
    layout["shapes"] = [upright(1.0, dashed) | {"layer": "above"}]  # the bars begin at 0 and would hide it
    layout["xaxis"]["range"] = [0, 1.08 * max(1.0, *(value for _, value in shown))]
    drawn = bar([y for y, _ in names], [round(value, 4) for _, value in shown], "ratio", MODEL)
    told: Trace = {"hovertemplate": "%{x:.3f} times as many<extra></extra>", "showlegend": False}
    alt = "Over the static twin: " + "; ".join(text for _, text in names)
    note = "Right of the dashed line the model needs more than its static twin."
    return Figure("Over the static twin", [drawn | told], layout, alt, note)


def _trial(trial: CountTrial, number: int, plot: Markup) -> Markup:
    title = f"{counts_wording.model_name(trial.models[0])}, {counts_wording.core_name(trial.device, trial.core)}"
    made = _table(counts_wording.count_columns(trial), counts_wording.count_rows(trial), 1, title)
    return element(
        "article",
        element("h3", title),
        element("p", counts_wording.count_title(trial), class_="muted"),
        element("div", made, plot, class_="plots"),
        class_="card",
        id=f"counts-{number}",
    )


def _across(section: CountSection) -> Markup:
    """Return the table of models against cores, where there is more than one trial."""
    if len(section.trials) < 2:
        return Markup("")
    made = _table(*counts_wording.across_cores(section), 2, "Models and emulated cores")
    said = f"{counts_wording.SUMMARY[0].upper()}{counts_wording.SUMMARY[1:]}:"
    return element("div", element("p", said, class_="muted"), made, class_="card")


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], left: int, title: str) -> Markup:
    """Return a table whose first ``left`` columns are texts."""
    classes = [{"class_": "text"} if i < left else {} for i in range(len(columns))]
    heads = [element("th", text, scope="col", **found) for text, found in zip(columns, classes, strict=True)]
    body = join(
        element("tr", *(element("td", text, **found) for text, found in zip(row, classes, strict=True))) for row in rows
    )
    made = element("table", element("thead", element("tr", *heads)), element("tbody", body))
    return element("div", made, class_="scroll", role="region", tabindex="0", aria_label=title)
