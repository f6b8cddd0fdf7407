"""The parts of the page: what stands between the plots."""

from __future__ import annotations

from dataclasses import asdict
from statistics import median

from dcd_deploy.benchmarks.results import BenchResult, Timing, Trial
from dcd_deploy.network_names import published
from dcd_deploy.reports import terminal as numbers
from dcd_deploy.reports import wording
from dcd_deploy.reports.bench import across_devices
from dcd_deploy.reports.counts import counts_basis, counts_headline
from dcd_deploy.reports.html.plotting import Markup, element, escape, join

TEXT_COLUMNS = 2  # of a table of wording.TIMING_COLUMNS


def lead(result: BenchResult) -> Markup:
    """Return what the headline leaves open: of how many trials it speaks, and what can be said against them."""
    parts = []
    if len(result.trials) == 1:
        parts.append(element("p", _one_trial(result.trials[0]), class_="lead"))
    elif result.trials:
        text = f"Measured in {len(result.trials)} trials; in each, the models took turns in one process."
        parts.append(element("p", text, class_="lead"))
    parts += _counts_lead(result)
    doubts = [str(i + 1) for i, trial in enumerate(result.trials) if trial.verdicts]
    remarks = []
    if doubts:
        links = join(", ").join(element("a", n, href=f"#trial-{n}") for n in doubts)
        few = "trial" if len(doubts) == 1 else "trials"
        remarks.append(element("li", f"The benchmark remarks on its own measurement in {few} ", Markup(links), "."))
    if result.failures:
        few = "1 trial was" if len(result.failures) == 1 else f"{len(result.failures)} trials were"
        remarks.append(element("li", f"{few} not measured: ", element("a", "see why", href="#failures"), "."))
    if remarks:
        parts.append(element("ul", *remarks, class_="remarks"))
    named = bool(wording.devices(result))
    for name, e in result.environments.items():
        parts.append(element("p", f"{name}: " * named + f"{e.cpu} · {e.system} · {e.date}", class_="muted"))
    return join(parts)


def _counts_lead(result: BenchResult) -> list[Markup]:
    """Return what is said of counts, which stand apart from times."""
    if result.counts is None or not result.counts.trials:
        return []
    link = element("a", "counts, not times", href="#counts")
    if not result.trials:
        return [element("p", "These are ", link, ".", class_="lead")]
    return [element("p", f"{counts_headline(result.counts.trials)}: ", link, ".")]


def _one_trial(trial: Trial) -> str:
    twin, ours = wording.static_twin(trial), numbers.milliseconds(trial.timings[0].latency.median_ms)
    if twin is None:
        return f"Median {ours}; {wording.trial_title(trial)}."
    theirs = numbers.milliseconds(twin[0].latency.median_ms)
    return f"{ours} against {theirs}; {wording.interval(twin[1])} times as long. {wording.trial_title(trial)}."


def trial_numbers(trial: Trial) -> Markup:
    """Return the few numbers of a trial that matter most, large."""
    t, cells = trial.timings[0], []
    found = wording.static_twin(trial)
    twin: Timing | None = found[0] if found else None
    if found:
        cells.append(_number("Over its static twin", f"{found[1].median:.2f} ×", wording.interval(found[1])))
    cells += [
        _number(
            "Median run",
            numbers.milliseconds(t.latency.median_ms),
            f"twin {numbers.milliseconds(twin.latency.median_ms)}" if twin else "",
        ),
        _number(
            "99 % of runs within",
            numbers.milliseconds(t.latency.p99_ms),
            f"twin {numbers.milliseconds(twin.latency.p99_ms)}" if twin else "",
        ),
    ]
    start, beside = _first_answer(t), _first_answer(twin) if twin else None
    if start is not None:
        cells.append(
            _number(
                "File to first answer",
                numbers.milliseconds(start),
                "" if beside is None else f"twin {numbers.milliseconds(beside)}",
            )
        )
    if t.memory is not None:
        less = f"twin {wording.megabytes(twin.memory.peak_mb)}" if twin and twin.memory else ""
        cells.append(_number("Peak memory", wording.megabytes(t.memory.peak_mb), less))
    return element("dl", *cells, class_="numbers")


def across(result: BenchResult) -> Markup:
    """Return the table of models against devices, where there are several devices."""
    if len(wording.devices(result)) < 2:
        return Markup("")
    columns, rows = across_devices(result)
    heads = [_cell("th", text, i, scope="col") for i, text in enumerate(columns)]
    body = [element("tr", *(_cell("td", text, i) for i, text in enumerate(row))) for row in rows]
    made = element("table", element("thead", element("tr", *heads)), element("tbody", *body))
    said = "The median of a run, and how many times as long as its static twin the model takes, with the interval."
    around = element("div", made, class_="scroll", role="region", tabindex="0", aria_label="Models and devices")
    return section("Models and devices", element("p", said), element("div", around, class_="card"))


def remarks(trial: Trial) -> Markup:
    """Return the verdicts of a trial as a list, or nothing."""
    items = [element("li", element("strong", verdict.kind), f": {verdict.text}") for verdict in trial.verdicts]
    return element("ul", *items, class_="remarks", aria_label="Remarks on this trial") if items else Markup("")


def number_tables(result: BenchResult) -> Markup:
    """Return a table of all numbers for each trial, with its ratios below."""
    return join(_number_table(result, trial, i + 1) for i, trial in enumerate(result.trials))


def _number_table(result: BenchResult, trial: Trial, number: int) -> Markup:
    heads = [_cell("th", text, i, scope="col") for i, text in enumerate(wording.TIMING_COLUMNS)]
    rows = [element("tr", *_row(wording.timing_cells(timing))) for timing in trial.timings]
    title = f"{number}. {wording.trial_name(result, trial)}: {wording.table_title(trial)}"
    made = element("table", element("thead", element("tr", *heads)), element("tbody", *rows))
    ratios = [
        element("div", text, class_="under")
        for text in [*wording.ratio_lines(trial), wording.machine_line(trial.machine)]
    ]
    around = element("div", made, class_="scroll", role="region", tabindex="0", aria_label=title)
    return element("div", element("h3", title, class_="small"), around, *ratios, class_="card")


def _row(cells: tuple[str, ...]) -> list[Markup]:
    return [
        _cell("th" if i == 1 else "td", text, i, **({"scope": "row"} if i == 1 else {})) for i, text in enumerate(cells)
    ]


def _cell(name: str, text: str, column: int, **attributes: str) -> Markup:
    return element(name, text, **attributes, **({"class_": "text"} if column < TEXT_COLUMNS else {}))


def failures(result: BenchResult) -> Markup:
    """Return what could not be measured, and why, or nothing."""
    if not result.failures:
        return Markup("")
    items = [element("li", wording.failure_line(failure)) for failure in result.failures]
    return section("Not measured", element("ul", *items, class_="remarks"), id_="failures")


def method(result: BenchResult, command: str | None) -> Markup:
    """Return how and where was measured: protocol, settings, command, machine."""
    rows = _protocol(result) if result.trials or not result.counts else []
    rows += [("Command", element("code", command))] if command else []
    for device, environment in result.environments.items():
        rows += [("Device", escape(device))] if wording.devices(result) else []
        rows += [(name, escape(text)) for name, text in wording.environment_rows(environment)]
    if result.counts and result.counts.trials:
        rows += [("Counts", escape(f"{counts_basis(result.counts)[0]}."))]
    pairs = [part for name, content in rows for part in (element("dt", name), element("dd", content))]
    return section("How it was measured", element("div", element("dl", *pairs, class_="facts"), class_="card"))


def _protocol(result: BenchResult) -> list[tuple[str, Markup]]:
    """Return how times were taken."""
    config = ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in asdict(result.config).items()
    )
    said = (
        "the median, over pairs of neighbouring blocks, of the model's time over the other's; the interval is the "
        "bootstrap's of that median. A drift of the machine falls on both models alike."
    )
    return [
        ("Protocol", escape(f"{wording.config_line(result.config)}.")),
        ("Ratio", escape(said)),
        ("Settings", element("code", config)),
    ]


def sources(result: BenchResult) -> str:
    """Return where the accuracies are quoted from, and what they do not say."""
    known = (published(timing.network) for trial in result.trials for timing in trial.timings)
    quoted = "; ".join(dict.fromkeys(found.source for found in known if found))
    return (
        f"Accuracy: ImageNet top-1 at 224×224, quoted from {quoted}. It is that of the released weights; the accuracy "
        "of the files measured here was not measured. Time: the median as measured here."
    )


def section(title: str, *children: str, id_: str | None = None) -> Markup:
    """Return a part of the page under its heading."""
    return element("section", element("h2", title), *children, **({"id": id_} if id_ else {}))


def _number(name: str, value: str, beside: str) -> Markup:
    small = [element("small", beside)] if beside else []
    return element("div", element("dt", name), element("dd", value, *small))


def _first_answer(timing: Timing) -> float | None:
    s = timing.samples
    return median(s.load_ms) + median(s.first_ms) if s.load_ms and s.first_ms else None
