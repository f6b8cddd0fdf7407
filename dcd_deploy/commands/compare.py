"""Results that were saved: two compared, or one shown again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from dcd_deploy.commands.options import Argument, Option, StrPath

if TYPE_CHECKING:
    from dcd_deploy.benchmarks.compare import ResultComparison
    from dcd_deploy.benchmarks.results import BenchResult


def compare(
    before: Annotated[StrPath, Argument("Result that 'bench `save` FILE.json' wrote.")],
    after: Annotated[StrPath, Argument("Another one.")],
    *,
    different_environments: Annotated[bool, Option("Compare across machines, versions or settings.")] = False,
) -> ResultComparison:
    """Compare two results of one machine.

    Raises:
        IncomparableError: they come from machines, versions or settings that differ, or have no trial in common.
    """
    from dcd_deploy.benchmarks.compare import compare_results
    from dcd_deploy.benchmarks.results import read_result

    return compare_results(read_result(Path(before)), read_result(Path(after)), different=different_environments)


def report(
    result: Annotated[StrPath, Argument("Result that 'bench `save` FILE.json' or 'sweep' wrote.")],
) -> BenchResult:
    """Show a result that was saved, or write it as a page, Markdown or CSV.

    Raises:
        ResultFileError: it is no result, or is damaged.
    """
    from dcd_deploy.benchmarks.results import read_result

    return read_result(Path(result))
