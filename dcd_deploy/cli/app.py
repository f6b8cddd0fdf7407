"""All commands in one application, and how it is run."""

from __future__ import annotations

import atexit
import functools
import gc
import os
import sys
import warnings
from typing import Annotated, TextIO

import typer

from dcd_deploy import __version__
from dcd_deploy.cli.checking import inspect, predict, verify
from dcd_deploy.cli.exporting import export
from dcd_deploy.cli.lowering import costs, tune
from dcd_deploy.cli.measuring import bench, sweep
from dcd_deploy.cli.profiling import profile
from dcd_deploy.cli.reaching import devices, setup_emulated
from dcd_deploy.cli.reading import compare, report
from dcd_deploy.errors import INTERRUPTED
from dcd_deploy.interruption import leave_interrupted, listen
from dcd_deploy.native_output import discard_native_output

COMMANDS = (
    export,
    tune,
    costs,
    verify,
    inspect,
    bench,
    devices,
    sweep,
    compare,
    report,
    setup_emulated,
    profile,
    predict,
)  # as --help lists them

app = typer.Typer(
    name="dcd-deploy",
    help="Networks with dynamic convolution, from a trained checkpoint to a verified model file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in COMMANDS:
    app.command()(command)


@app.callback(invoke_without_command=True)
def version(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    """Networks with dynamic convolution, from a trained checkpoint to a verified model file."""
    if show_version:
        typer.echo(f"dcd-deploy {__version__}")
        raise typer.Exit


REMARKS_AT_THE_END = "ai_edge_litert.compiled_model"  # whose library says that it is unloaded
_python_shows = warnings.showwarning


def main() -> None:
    """Run the command line. A request to terminate ends it like Ctrl-C, so that nothing is left half-written."""
    # Before torch is loaded: its threads otherwise spin while they wait, and where another process wants the cores
    # everything takes many times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Torch's modules are half a million objects, and tracing makes as many: looked through at every 700th new one they
    # cost an export a tenth of its time.
    gc.set_threshold(50_000, 20, 100)
    warnings.showwarning = _show_warning
    atexit.register(_end_without_remarks)
    listen()
    try:
        app()
    except KeyboardInterrupt:
        leave_interrupted()
    except SystemExit as end:  # typer makes 130 of an interruption, wherever it came, and says nothing
        if end.code == INTERRUPTED:
            leave_interrupted()
        raise


def _end_without_remarks() -> None:
    """Let no library speak when it is unloaded, which is when all that is ours has been said."""
    if REMARKS_AT_THE_END in sys.modules:
        discard_native_output()


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Say our own warnings as the command line speaks."""
    if category.__module__.startswith("dcd_deploy."):
        _note(str(message))
    else:
        _python_shows(message, category, filename, lineno, file, line)


@functools.cache
def _note(text: str) -> None:
    """Say it once, from however many places it comes."""
    typer.echo(f"dcd-deploy: note: {text}", err=True)
