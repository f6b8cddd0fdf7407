"""A result into files, each in the form that its suffix says."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Collection, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar, cast

from dcd_deploy.benchmarks.profile import ProfileResult, read_profile
from dcd_deploy.benchmarks.results import BenchResult, write_result
from dcd_deploy.benchmarks.runtime_results import RuntimesResult
from dcd_deploy.errors import BenchError, DeviceError, UnknownNameError
from dcd_deploy.evaluation.results import EvaluationResult
from dcd_deploy.files import check_no_folder, check_writable, suffix_of, utf8, write_whole
from dcd_deploy.optional import check_installed
from dcd_deploy.reports import evaluate, runtimes
from dcd_deploy.reports.counts import NO_LAYER
from dcd_deploy.reports.html.profile import LayerTime, Profile
from dcd_deploy.runtimes.nodes import DYNAMIC, LAYOUT, STATIC

Profiles = Sequence[ProfileResult]
Result = TypeVar("Result", BenchResult, RuntimesResult, EvaluationResult)


def check_save(paths: Sequence[Path], command: str = "bench") -> None:
    """Refuse, before anything is measured, what could not be written after it.

    Raises:
        UnknownNameError: there is no form of that suffix. OutputError: it cannot be written there.
        MissingDependencyError: the page is wanted, but what makes it is not installed.
    """
    known: Collection[str] = PLAIN_FORMS.get(command, WRITERS)
    for path in paths:
        if suffix_of(path) not in known:
            raise UnknownNameError("kind of report", path.suffix or path.name, known, advice="")
        for package in packages_of(suffix_of(path), command):
            check_installed(package)
        check_writable(path.parent)
    check_no_folder(paths)


def packages_of(suffix: str, command: str = "bench") -> Sequence[str]:
    """Return the packages that make a report of that suffix; the plots of a benchmark are Plotly's."""
    if suffix not in (".html", ".svg"):
        return ()
    return ("jinja2",) if command in PLAIN_FORMS else ("jinja2", "plotly")


def kept_in(out: Path | None) -> list[Path]:
    """Return what a run leaves in its folder besides the trials: all results, and the page where it can be made."""
    if out is None:
        return []
    return [
        Path(out) / "result.json",
        *([Path(out) / "result.html"] if all(map(find_spec, packages_of(".html"))) else []),
    ]


def saved(
    measure: Callable[[], Result], paths: Sequence[Path], profiles: Sequence[Path] = (), *, command: str = "bench"
) -> Result:
    """Measure, and write the result to all ``paths``, also where trials failed; the page shows ``profiles`` too."""
    check_save(paths, command)
    shown = [read_profile(path) for path in profiles]
    try:
        result = measure()
    except (BenchError, DeviceError) as error:
        if error.result is not None:
            save_result(cast("BenchResult | RuntimesResult", error.result), paths, shown)
        raise
    save_result(result, paths, shown)
    return result


def save_result(
    result: BenchResult | RuntimesResult | EvaluationResult,
    paths: Sequence[Path],
    profiles: Sequence[ProfileResult] = (),
) -> None:
    """Write ``result`` to all ``paths``; the page shows the ``profiles`` too."""
    for path in paths:
        suffix = suffix_of(path)
        if isinstance(result, RuntimesResult):
            write_whole(path, utf8(runtimes.FORMS[suffix](result)))
        elif isinstance(result, EvaluationResult):
            write_whole(path, utf8(evaluate.FORMS[suffix](result)))
        else:
            WRITERS[suffix](path, result, profiles)


def _write_json(path: Path, result: BenchResult, _: Profiles) -> None:
    write_result(path, result)


def _write_page(path: Path, result: BenchResult, profiles: Profiles) -> None:
    from dcd_deploy.reports.html.page import write_page

    shown = [_shown(profile) for profile in profiles]
    write_page(path, result, profiles=shown, command=shlex.join(["dcd-deploy", *sys.argv[1:]]))


def _shown(profile: ProfileResult) -> Profile:
    """Return a profile as the page shows it: the layers' sums."""
    layers = (
        LayerTime(found.name or NO_LAYER, *(found.parts_ms.get(part, 0.0) for part in (STATIC, DYNAMIC, LAYOUT)))
        for found in profile.by_layer()
    )
    return Profile(f"{Path(profile.model).name}, {profile.runtime}", tuple(layers))


def _write_markdown(path: Path, result: BenchResult, _: Profiles) -> None:
    from dcd_deploy.reports.markdown import bench_markdown

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
PLAIN_FORMS: dict[str, Collection[str]] = {
    "runtimes": runtimes.FORMS,
    "evaluate": evaluate.FORMS,
}
