"""A result as one HTML file: headline, plots, numbers. It needs no network, and may not use any.

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
from dcd_deploy.benchmarks.results import BenchResult
from dcd_deploy.files import utf8, write_whole
from dcd_deploy.optional import require
from dcd_deploy.reports import counts, wording
from dcd_deploy.reports.bench import across_devices
from dcd_deploy.reports.html import overview, parts, trials
from dcd_deploy.reports.html.jinja import rendered, text_of
from dcd_deploy.reports.html.plotting import Figure
from dcd_deploy.reports.html.profile import Profile, layers


def write_page(
    path: str | os.PathLike[str],
    result: BenchResult,
    *,
    profiles: Sequence[Profile] = (),
    command: str | None = None,
) -> None:
    """Write ``bench_page`` to ``path``, whole or not at all.

    Raises:
        MissingDependencyError: plotly or jinja2 is not installed.
        OutputError: the file cannot be written.
    """
    write_whole(Path(path), utf8(bench_page(result, profiles=profiles, command=command)))


def bench_page(result: BenchResult, *, profiles: Sequence[Profile] = (), command: str | None = None) -> str:
    """Return the page of a result; ``profiles`` add a plot each, ``command`` is shown as what was typed.

    Raises:
        MissingDependencyError: plotly or jinja2 is not installed.
    """
    return _page(
        "bench.html",
        wording.headline(result),
        scripts=[_script(require("plotly.offline").get_plotlyjs()), _script(text_of("page.js"))],
        result=result,
        profiles=[layers(profile) for profile in profiles],
        command=command,
        plots=Plots(),
        across_devices=across_devices,
        counts=counts,
        overview=overview,
        parts=parts,
        trials=trials,
        wording=wording,
    )


def tables_page(
    title: str,
    tables: Sequence[tuple[Sequence[str], Sequence[Sequence[str]], int]],
    texts: Sequence[str],
    picture: str = "",
) -> str:
    """Return a page of a picture in SVG, tables and texts alone, without a script.

    A table is its columns, its rows and how many of its columns are texts.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    return _page("tables.html", title, tables=tables, texts=texts, picture=picture)


def _page(template: str, title: str, scripts: Sequence[str] = (), **values: object) -> str:
    hashed = (base64.b64encode(hashlib.sha256(utf8(script)).digest()).decode() for script in scripts)
    hashes = " ".join(f"'sha256-{text}'" for text in hashed) or "'none'"
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; connect-src 'none'; "
        "base-uri 'none'; form-action 'none'"
    )
    style = text_of("page.css")
    return rendered(template, title=title, scripts=scripts, policy=policy, style=style, version=__version__, **values)


class Plots:
    """The figures of a page in their order."""

    def __init__(self) -> None:
        self.figures: list[Figure] = []

    def place(self, figure: Figure) -> int:
        """Return the number of the place where page.js draws ``figure``."""
        self.figures.append(figure)
        return len(self.figures) - 1

    def as_json(self) -> str:
        """Return the figures as JSON that cannot end the element it stands in."""
        drawn = [{"data": figure.data, "layout": figure.layout} for figure in self.figures]
        return json.dumps(drawn, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _script(text: str) -> str:
    """Return a script as the browser reads it, so that its hash is the browser's: LF at line ends, no end within."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("</script", "<\\/script")
