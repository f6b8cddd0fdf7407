"""How a benchmark ends: its result saved in all wanted forms, and shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dcd_deploy.cli.outcome import answer

if TYPE_CHECKING:
    from dcd_deploy.benchmarks.results import BenchResult


def answer_bench(
    run: Callable[[], Any],
    save: list[Path] | None,
    profiles: list[Path] | None = None,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure, save the result in all wanted forms, and show it; also where some trials failed."""

    def run_and_save() -> Any:
        from dcd_deploy.benchmarks.profile_file import read_profile
        from dcd_deploy.errors import BenchError, DeviceError
        from dcd_deploy.reports.saving import check_save, save_result

        check_save(save or ())
        shown = [read_profile(path) for path in profiles or ()]
        try:
            result = run()
        except (BenchError, DeviceError) as error:
            if error.result is not None:
                save_result(cast("BenchResult", error.result), save or (), shown)
            raise
        save_result(result, save or (), shown)
        return result

    def show(result: Any) -> None:
        from dcd_deploy.reports.benching import show_bench
        from dcd_deploy.reports.terminal import console

        show_bench(console(), result)

    answer(run_and_save, show, as_json=as_json, quiet=quiet)
