"""A benchmark as one HTML file: headline, plots, numbers. It needs no network, and may not use any.

The policy in the page's head lets the browser run two scripts, known by their hashes (Plotly's and page.js), and open
no connection at all; so a text that got past the escaping still could do nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from dcd_deploy import __version__
from dcd_deploy.benchmarks.counts import CountSection
from dcd_deploy.benchmarks.results import BenchResult, Trial
from dcd_deploy.files import utf8, write_whole
from dcd_deploy.optional import require
from dcd_deploy.reports import wording
from dcd_deploy.reports.html import overview as page_overview
from dcd_deploy.reports.html import parts as page_parts
from dcd_deploy.reports.html import trials as page_counts
from dcd_deploy.reports.html import trials as page_trials
from dcd_deploy.reports.html.parts import section
from dcd_deploy.reports.html.plotting import Figure, Markup, element, join
from dcd_deploy.reports.html.profile import Profile, layers

HERE = Path(__file__).parent


def write_page(
    path: str | os.PathLike[str],
    result: BenchResult,
    *,
    profiles: Sequence[Profile] = (),
    command: str | None = None,
) -> None:
    """Write ``bench_page`` to ``path``, whole or not at all.

    Raises:
        MissingDependencyError: plotly is not installed.
        OutputError: the file cannot be written.
    """
    write_whole(Path(path), utf8(bench_page(result, profiles=profiles, command=command)))


def bench_page(result: BenchResult, *, profiles: Sequence[Profile] = (), command: str | None = None) -> str:
    """Return the page of a result; ``profiles`` add a plot each, ``command`` is shown as what was typed.

    Raises:
        MissingDependencyError: plotly is not installed.
    """
    plotly = _script(require("plotly.offline").get_plotlyjs())
    plots = Plots()
    headline = wording.headline(result)
    body = [
        element("header", element("h1", f"{headline}."), page_parts.lead(result)),
        element("main", *_sections(result, plots, profiles), page_parts.method(result, command)),
        element(
            "footer", f"Made by dcd-deploy {__version__}. This file is complete in itself and opens no connection."
        ),
    ]
    ours = _script((HERE / "page.js").read_text(encoding="utf-8"))
    data = element("script", Markup(plots.as_json()), type="application/json", id="figures")
    head = _head(headline, [plotly, ours])
    content = join([head, element("body", *body, data, element("script", plotly), element("script", ours))])
    return f"<!doctype html>\n{element('html', content, lang='en-GB')}\n"


def table_page(title: str, *content: Markup) -> str:
    """Return a page of tables and texts alone, without a script."""
    made = f"Made by dcd-deploy {__version__}. This file is complete in itself and opens no connection."
    body = element("body", element("header", element("h1", title)), element("main", *content), element("footer", made))
    return f"<!doctype html>\n{element('html', _head(title, []), body, lang='en-GB')}\n"


class Plots:
    """The figures of a page in their order."""

    def __init__(self) -> None:
        self.figures: list[Figure] = []

    def place(self, figure: Figure) -> Markup:
        """Return the place where page.js draws ``figure``."""
        number = len(self.figures)
        self.figures.append(figure)
        title = [element("h4", figure.title)] if figure.title else []
        height = f"min-height:{figure.layout['height']}px"
        plot = element("div", id=f"plot-{number}", class_="plot", role="img", aria_label=figure.alt, style=height)
        note = [element("figcaption", figure.note)] if figure.note else []
        return element("figure", *title, plot, *note)

    def as_json(self) -> str:
        """Return the figures as JSON that cannot end the element it stands in."""
        drawn = [{"data": figure.data, "layout": figure.layout} for figure in self.figures]
        return json.dumps(drawn, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _sections(result: BenchResult, plots: Plots, profiles: Sequence[Profile]) -> list[Markup]:
    made = [element("noscript", element("p", "The plots need JavaScript; all numbers stand in the tables below."))]
    made.append(page_parts.across(result))
    if forest := page_overview.forest(result):
        said = (
            "How many times as long the model takes as its static twin or as the file that is named, and the interval. "
            "Right of the dashed line it is slower."
        )
        made.append(section("Model against twin", element("p", said), _card(plots.place(forest))))
    if front := page_overview.front(result):
        source = element("p", page_parts.sources(result), class_="muted")
        made.append(section("Accuracy and time", _card(plots.place(front)), source))
    if result.trials:
        trials = (_trial(result, trial, i + 1, plots) for i, trial in enumerate(result.trials))
        made.append(section("Trial by trial", *trials))
    if start := page_overview.start_up(result):
        made.append(section("Start-up", _card(element("div", *map(plots.place, start), class_="plots"))))
    if result.counts and result.counts.trials:
        made.append(_counts(result.counts, plots))
    if profiles:
        made.append(section("Where the time goes", *(_card(plots.place(layers(profile))) for profile in profiles)))
    made.append(page_parts.failures(result))
    return [*made, section("All numbers", page_parts.number_tables(result))] if result.trials else made


def _trial(result: BenchResult, trial: Trial, number: int, plots: Plots) -> Markup:
    steady = page_trials.ratio_over_time(trial)
    drawn = [plots.place(figure) for figure in (page_trials.latencies(trial), steady) if figure]
    return element(
        "article",
        element("h3", f"{number}. {wording.trial_name(result, trial)}"),
        element("p", wording.trial_title(trial), class_="muted"),
        page_parts.trial_numbers(trial),
        page_parts.remarks(trial),
        element("div", *drawn, class_="plots"),
        class_="card",
        id=f"trial-{number}",
    )


def _counts(section: CountSection, plots: Plots) -> Markup:
    figures = map(page_counts.count_ratios, section.trials)
    return page_counts.counted(section, [plots.place(figure) if figure else Markup("") for figure in figures])


def _card(*children: str) -> Markup:
    return element("div", *children, class_="card")


def _head(title: str, scripts: Sequence[str]) -> Markup:
    hashed = (base64.b64encode(hashlib.sha256(utf8(script)).digest()).decode() for script in scripts)
    hashes = " ".join(f"'sha256-{text}'" for text in hashed) or "'none'"
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; connect-src 'none'; "
        "base-uri 'none'; form-action 'none'"
    )
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Markup((HERE / "page.css").read_text(encoding="utf-8"))),
    )


def _script(text: str) -> Markup:
    """Return a script as the browser reads it, so that its hash is the browser's: LF at line ends, no end within."""
    return Markup(text.replace("\r\n", "\n").replace("\r", "\n").replace("</script", "<\\/script"))
