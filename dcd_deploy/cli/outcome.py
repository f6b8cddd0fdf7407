"""How a command ends: its result shown, or one clear line on standard error and an exit code of its own."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import typer

from dcd_deploy.errors import (
    INTERRUPTED,
    BenchError,
    CheckpointMismatchError,
    DcdDeployError,
    DeviceError,
    InputFileError,
    OptionError,
    OutputError,
    VerificationError,
    shown,
)
from dcd_deploy.interruption import heeded
from dcd_deploy.native_output import output_to_stderr

if TYPE_CHECKING:
    from dcd_deploy.devices.listing import DeviceList
    from dcd_deploy.export.verify import VerificationReport
    from dcd_deploy.models.fit import Mismatch

DEBUG_VARIABLE = "DCD_DEPLOY_TRACEBACK"
DEFECT = 1
KEYS_SHOWN = 10

Show = Callable[[Any], None]


def answer(
    run: Callable[[], Any],
    show: Show,
    *,
    plain: Callable[[Any], Any] | None = None,
    as_json: bool = False,
    quiet: bool = False,
    keys_shown: int | None = KEYS_SHOWN,
) -> None:
    """Run, show the result as a table (``show``) or as JSON (of ``plain``), and exit with the code of what happened.

    Of the keys by which a checkpoint differs at most ``keys_shown`` are listed, or all.
    """
    try:
        with output_to_stderr(), heeded():
            result = _run(run)
        with heeded():
            _present(result, show, plain, as_json=as_json, quiet=quiet)
            sys.stdout.flush()
    except DcdDeployError as error:
        _show_details(error, keys_shown, as_json=as_json, quiet=quiet)
        fail(error.exit_code, str(error))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None  # ``app.main`` says it, once, wherever the interruption came
    except BrokenPipeError:  # the reader of our output left; that is its right
        from dcd_deploy.reports.terminal import discard

        discard(sys.stdout)
    except OSError as error:
        fail(
            OutputError.exit_code,
            f"expected to print the result, but: {error.strerror or error}; give standard output more room",
        )
    except Exception as error:  # noqa: BLE001 - the last door: a defect of ours ends in one line too
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exc()
        hint = f"a defect of dcd-deploy; please report it with the output of {DEBUG_VARIABLE}=1"
        fail(DEFECT, f"{type(error).__name__}: {' '.join(str(error).split())[:300]} ({hint})")


def _run(run: Callable[[], Any]) -> Any:
    """Run; what the system says of a file that nobody expected trouble with is told as one of that file."""
    try:
        return run()
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f" '{shown(os.fsdecode(error.filename), 300)}'" if isinstance(error.filename, str | bytes) else ""
        raise InputFileError(
            f"expected to read or write a file{where}, but: {error.strerror or error}; check the path and its "
            "permissions"
        ) from error
    except MemoryError as error:
        raise OptionError("expected an input that fits into memory, found none to spare; give a smaller one") from error


def fail(code: int, message: str) -> None:
    """Print the one line, and exit with ``code``."""
    from dcd_deploy.reports.numbers import plain

    sys.stdout.flush()
    sys.stderr.write(f"dcd-deploy: error: {plain(message)}\n")
    raise typer.Exit(code)


def _present(result: Any, show: Show, plain: Callable[[Any], Any] | None, *, as_json: bool, quiet: bool) -> None:
    if as_json:
        from dcd_deploy.reports.machine import to_json

        print(to_json(result if plain is None else plain(result)))
    elif not quiet:
        show(result)


def _show_result(result: object) -> None:
    """Show what an error carries: what was measured, or what the other devices are."""
    from dcd_deploy.benchmarks.results import BenchResult
    from dcd_deploy.reports.benching import show_bench
    from dcd_deploy.reports.devices import show_devices
    from dcd_deploy.reports.terminal import console

    if isinstance(result, BenchResult):
        show_bench(console(), result)
    else:
        show_devices(console(), cast("DeviceList", result))


def _show_details(error: DcdDeployError, keys_shown: int | None, *, as_json: bool, quiet: bool) -> None:
    """Print on standard output what an error carries: the comparisons that failed, or the keys that differ."""
    if as_json:
        from dcd_deploy.reports.machine import to_json

        print(to_json(error))
    elif isinstance(error, BenchError | DeviceError) and error.result is not None and not quiet:
        _show_result(error.result)
    elif isinstance(error, VerificationError) and error.report is not None and not quiet:
        from dcd_deploy.reports.terminal import console
        from dcd_deploy.reports.verification import show_check

        show_check(console(), cast("VerificationReport", error.report))
    elif isinstance(error, CheckpointMismatchError) and not quiet:
        from dcd_deploy.reports.mismatch import show_mismatch
        from dcd_deploy.reports.terminal import console

        show_mismatch(console(), cast("Mismatch", error.mismatch), keys_shown)
