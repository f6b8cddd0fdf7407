"""How a benchmark reads as Markdown (GitHub's), for a README, an issue or a pull request.

A benchmark's result into files, each in the form that its suffix says.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from dcd_deploy.benchmarks.counts import CountSection
from dcd_deploy.benchmarks.profile import ProfileResult, read_profile
from dcd_deploy.benchmarks.results import BenchResult, Trial, write_result
from dcd_deploy.errors import BenchError, DeviceError, UnknownNameError
from dcd_deploy.files import check_no_folder, check_writable, suffix_of, utf8, write_whole
from dcd_deploy.optional import check_installed
from dcd_deploy.reports import counts as counts_wording
from dcd_deploy.reports import wording
from dcd_deploy.reports.html.profile import LayerTime, Profile
from dcd_deploy.reports.terminal import plain
from dcd_deploy.runtimes.nodes import DYNAMIC, LAYOUT, STATIC

SPECIAL = re.compile(r"[\\`*_{}\[\]<>|~@&#$:!]")  # what could start markup, a link, a mention or a formula


def bench_markdown(result: BenchResult) -> str:
    """Return the document: headline, summary of several trials, each trial, what failed, and the machine."""
    parts = [f"# {text(wording.headline(result))}"]
    if len(result.trials) > 1:
        parts.append(summary_table(result))
    parts += [part for trial in result.trials for part in _trial(result, trial)]
    if result.counts and result.counts.trials:
        parts += _counts(result.counts)
    if result.failures:
        parts += ["## Not measured", *(f"* {text(wording.failure_line(failure))}" for failure in result.failures)]
    if result.trials or not result.counts:
        parts += ["## How it was measured", f"Measured {text(wording.config_line(result.config))}."]
        parts += map(text, wording.environment_lines(result))
    return "\n\n".join(parts) + "\n"


def summary_table(result: BenchResult) -> str:
    """Return one table with a row for each trial."""
    columns = wording.summary_columns(result)
    return table(columns, wording.summary_rows(result), left=columns.index("threads"))


def table(columns: Sequence[str], rows: Iterable[Iterable[str]], *, left: int = 1) -> str:
    """Return a table whose first ``left`` columns are texts and whose others are numbers."""
    rules = ["---" if i < left else "--:" for i in range(len(columns))]
    lines = [[text(column) for column in columns], rules, *([text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def text(content: str) -> str:
    """Return a text that Markdown shows as it is, on one line."""
    return SPECIAL.sub(lambda found: "\\" + found[0], plain(content))


def _counts(section: CountSection) -> list[str]:
    """Return a table for each model and core, and what the counts rest on."""
    parts = [f"## {counts_wording.HEADING}"]
    if len(section.trials) > 1:
        parts += [f"{text(counts_wording.SUMMARY)}:", table(*counts_wording.across_cores(section), left=2)]
    for trial in section.trials:
        parts.append(
            f"### {text(counts_wording.model_name(trial.models[0]))}, {text(counts_wording.count_title(trial))}"
        )
        parts.append(table(counts_wording.count_columns(trial), counts_wording.count_rows(trial)))
    return [*parts, "\n".join(f"* {text(line)}" for line in counts_wording.counts_basis(section))]


def _trial(result: BenchResult, trial: Trial) -> list[str]:
    heading = f"## {text(wording.trial_name(result, trial))}, {text(wording.table_title(trial))}"
    parts = [heading, table(wording.TIMING_COLUMNS, map(wording.timing_cells, trial.timings), left=2)]
    ratios = [f"* {text(line)}" for line in wording.ratio_lines(trial)]
    remarks = [f"* {text(f'{verdict.kind}: {verdict.text}')}" for verdict in trial.verdicts]
    return [*parts, "\n".join([*ratios, *remarks])] if ratios or remarks else parts


Profiles = Sequence[ProfileResult]


def check_save(paths: Sequence[Path]) -> None:
    """Refuse, before anything is measured, what could not be written after it.

    Raises:
        UnknownNameError: there is no form of that suffix. OutputError: it cannot be written there.
        MissingDependencyError: the page is wanted, but plotly is not installed.
    """
    for path in paths:
        if suffix_of(path) not in WRITERS:
            raise UnknownNameError("kind of report", path.suffix or path.name, WRITERS)
        if suffix_of(path) == ".html":
            check_installed("plotly")
        check_writable(path.parent)
    check_no_folder(paths)


def kept_in(out: Path | None) -> list[Path]:
    """Return what a run leaves in its folder besides the trials: all results, and the page where it can be made."""
    if out is None:
        return []
    return [Path(out) / "result.json", *([Path(out) / "result.html"] if find_spec("plotly") else [])]


def saved(measure: Callable[[], BenchResult], paths: Sequence[Path], profiles: Sequence[Path] = ()) -> BenchResult:
    """Measure, and write the result to all ``paths``, also where trials failed; the page shows ``profiles`` too."""
    check_save(paths)
    shown = [read_profile(path) for path in profiles]
    try:
        result = measure()
    except (BenchError, DeviceError) as error:
        if error.result is not None:
            save_result(cast("BenchResult", error.result), paths, shown)
        raise
    save_result(result, paths, shown)
    return result


def save_result(result: BenchResult, paths: Sequence[Path], profiles: Sequence[ProfileResult] = ()) -> None:
    """Write ``result`` to all ``paths``; the page shows the ``profiles`` too."""
    for path in paths:
        WRITERS[suffix_of(path)](path, result, profiles)


def _write_json(path: Path, result: BenchResult, _: Profiles) -> None:
    write_result(path, result)


def _write_page(path: Path, result: BenchResult, profiles: Profiles) -> None:
    from dcd_deploy.reports.html.page import write_page

    shown = [_shown(profile) for profile in profiles]
    write_page(path, result, profiles=shown, command=shlex.join(["dcd-deploy", *sys.argv[1:]]))


def _shown(profile: ProfileResult) -> Profile:
    """Return a profile as the page shows it: the layers' sums."""
    layers = (
        LayerTime(found.name or "(no layer)", *(found.parts_ms.get(part, 0.0) for part in (STATIC, DYNAMIC, LAYOUT)))
        for found in profile.by_layer()
    )
    return Profile(f"{Path(profile.model).name}, {profile.runtime}", tuple(layers))


def _write_markdown(path: Path, result: BenchResult, _: Profiles) -> None:

    write_whole(path, utf8(bench_markdown(result)))


def _write_csv(path: Path, result: BenchResult, _: Profiles) -> None:
    from dcd_deploy.reports.table import bench_csv

    write_whole(path, utf8(bench_csv(result)))


WRITERS: dict[str, Callable[[Path, BenchResult, Profiles], None]] = {
    ".json": _write_json,
    ".html": _write_page,
    ".md": _write_markdown,
    ".csv": _write_csv,
}
