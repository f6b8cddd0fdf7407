"""The command line, made from the annotated functions of ``commands``.

    annotated function → options → one call → one report, or one line on standard error and an exit code

Results go to standard output (with --json one object and nothing else), progress and errors to standard error. Every
kind of error has its own exit code, listed by ``dcd_deploy.errors``; 1 is a defect of ours, 130 an interruption.
"""

from __future__ import annotations

import atexit
import functools
import inspect
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO

import typer
from typer.exceptions import TyperException

from dcd_deploy import __version__, commands
from dcd_deploy.commands.options import Argument, Option, Parameter, parameters
from dcd_deploy.config import configured
from dcd_deploy.errors import INTERRUPTED, DcdDeployError, OutputError, UsageError
from dcd_deploy.files import system_errors_told
from dcd_deploy.interruption import heeded, leave_interrupted, listen
from dcd_deploy.native_output import discard_native_output, output_to_stderr, tell_crashes
from dcd_deploy.own_process import settle
from dcd_deploy.progress import Progress, silent
from dcd_deploy.reports.terminal import plain, spelled

DEBUG_VARIABLE = "DCD_DEPLOY_TRACEBACK"
REMARKS_AT_THE_END = "ai_edge_litert.compiled_model"  # whose library says that it is unloaded
NAME = "dcd-deploy"
HELP = "Networks with dynamic convolution, from a trained checkpoint to a verified model file."
OUTPUT = "Output"
KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY


# What the command line alone has: how a result is presented.
JSON = Parameter(
    "json", Option("Print one JSON object on standard output, and nothing else there.", OUTPUT), bool, default=False
)
QUIET = Parameter("quiet", Option("Print nothing but errors.", OUTPUT, short="-q"), bool, default=False)
VERBOSE = Parameter("verbose", Option("Print all that is known.", OUTPUT, short="-v"), bool, default=False)
SHOW_CONFIG = Parameter(
    "show_config", Option("Print each option's value and where it comes from, and stop.", OUTPUT), bool, default=False
)
SAVE = Parameter(
    "save",
    Option("Write the result as .json, .html, .md or .csv (evaluate: .svg) too; may be several.", OUTPUT),
    Path,
    (),
    many=True,
)
PROFILES = Parameter(
    "profile", Option("What 'profile --json' printed, for the page; may be several.", OUTPUT), Path, (), many=True
)
BY = Parameter("by", Option("Table to print: layer, operator or type.", OUTPUT), str, "layer")
PRESENTATION = {
    **dict.fromkeys(("bench", "runtimes", "sweep", "evaluate"), (SAVE,)),
    "report": (SAVE, PROFILES),
    "profile": (BY,),
    "export": (VERBOSE,),
    "verify": (VERBOSE,),
}


def entries(command: Callable[..., Any]) -> tuple[Parameter, ...]:
    """Return all that a command takes on the command line."""
    return (*parameters(command), *PRESENTATION.get(command.__name__, ()), JSON, QUIET, SHOW_CONFIG)


def title(command: Callable[..., Any]) -> str:
    """Return the name of a command on the command line."""
    return command.__name__.replace("_", "-")


def summary(command: Callable[..., Any]) -> str:
    """Return the first line of a command's docstring, which is its help."""
    return (command.__doc__ or "").partition("\n")[0]


def _typed(entry: Parameter) -> inspect.Parameter:
    """Return a parameter as typer reads it. None stands for all that is not given."""
    default = entry.default_words
    words = "required" if entry.required else f"default: {default}"
    said = not isinstance(entry.option, Argument) and entry.required  # of arguments typer says it
    text = spelled(entry.option.help) + (f" [{words}]" if default or said else "")
    text = text.replace("[", "\\[")  # no markup
    kind: Any = list[entry.kind] if entry.many else entry.kind  # type: ignore[name-defined]  # made here
    missing: Any = None
    if isinstance(entry.option, Argument):
        info: Any = typer.Argument(help=text, show_default=False, readable=False)
        kind, missing = (kind, inspect.Parameter.empty) if entry.required else (kind | None, None)
    else:
        panel = entry.option.group or None
        settings: dict[str, Any] = {"help": text, "show_default": False, "rich_help_panel": panel, "readable": False}
        info, kind = typer.Option(*entry.forms, **settings), kind | None
    return inspect.Parameter(entry.name, KEYWORD_ONLY, default=missing, annotation=Annotated[kind, info])


def _made(command: Callable[..., Any]) -> Callable[..., None]:
    """Return a command as typer takes it."""
    taken = entries(command)

    def run(**given: Any) -> None:
        _answer(command.__name__, taken, {name: value for name, value in given.items() if value not in (None, [])})

    typed = [_typed(entry) for entry in taken]
    run.__signature__ = inspect.Signature(typed)  # type: ignore[attr-defined]  # what typer reads
    run.__annotations__ = {entry.name: entry.annotation for entry in typed}
    return run


app = typer.Typer(name=NAME, help=HELP, pretty_exceptions_enable=False)
for _command in commands.COMMANDS:
    app.command(title(_command), help=summary(_command))(_made(_command))


@app.callback(invoke_without_command=True, help=HELP)
def _whole(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(f"{NAME} {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _answer(name: str, taken: Sequence[Parameter], given: Mapping[str, Any]) -> None:
    """Run a command, present the result, and exit with the code of what happened."""
    request = {entry.name: entry.default for entry in taken} | {"command": name, **given}
    try:
        with output_to_stderr(), heeded():
            known = lambda: {title(one): parameters(one) for one in commands.COMMANDS}  # noqa: E731 - where a file is
            config = configured(name.replace("_", "-"), taken, given, known)
            for note in () if request["quiet"] else config.notes:
                _note(note)
            request |= (asked := {**config.values, **given})
            result = config.settings(taken, given) if request["show_config"] else _called(name, taken, asked, request)
        with heeded():
            _present(result, request)
            sys.stdout.flush()
    except DcdDeployError as error:
        _fail(error, request)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None  # ``main`` says it, once, wherever the interruption came
    except BrokenPipeError:  # the reader of our output left; that is its right
        from dcd_deploy.reports.terminal import discard

        discard(sys.stdout)
    except OSError as error:
        reason = f"expected to print the result, but: {error.strerror or error}; give standard output more room"
        _fail(OutputError(reason), {"json": False, "quiet": True})  # where nothing can be printed any more
    except (typer.Exit, TyperException):
        raise
    except Exception as error:  # noqa: BLE001 - the last door: a defect of ours ends in one line too
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exc()
        hint = f"a defect of dcd-deploy; please report it with the output of {DEBUG_VARIABLE}=1"
        _fail(DcdDeployError(f"{type(error).__name__}: {' '.join(str(error).split())[:300]} ({hint})"), request)


@system_errors_told()
def _called(name: str, taken: Sequence[Parameter], asked: Mapping[str, Any], request: Mapping[str, Any]) -> Any:
    """Call the command with what was asked, and write the result into the files of --save."""
    for entry in taken:
        if entry.required and entry.name not in asked:
            wanted = f"`{entry.name}` ({entry.option.help.rstrip('.')})"
            raise UsageError(expected=wanted, found="none", advice=_see_help(name))
    own = [entry for entry in taken if entry.option.group != OUTPUT and entry.name in asked]
    arguments = [entry for entry in own if isinstance(entry.option, Argument)]
    values = [value for entry in arguments for value in (asked[entry.name] if entry.many else [asked[entry.name]])]
    options: dict[str, Any] = {entry.name: asked[entry.name] for entry in own if entry not in arguments}
    command = getattr(commands, name)
    if "progress" in inspect.signature(command).parameters:
        options["progress"] = _progress(quiet=request["quiet"])
    if BY in taken:
        from dcd_deploy.reports.profile import check_table

        check_table(request["by"])
    run = functools.partial(command, *values, **options)
    if SAVE not in taken:
        return run()
    from dcd_deploy.reports.save import kept_in, saved

    kept = kept_in(request["out"]) if name == "bench" else []
    return saved(run, [*request["save"], *kept], request.get("profile", ()), command=name)


def _progress(*, quiet: bool) -> Progress:
    if quiet:
        return silent
    from dcd_deploy.reports.terminal import live_progress

    return live_progress


def _present(result: Any, request: Mapping[str, Any]) -> None:
    """Print a result; also one that an error brings along."""
    if request["json"]:
        from dcd_deploy.reports import json as machine
        from dcd_deploy.reports import renderers

        print(machine.to_json(renderers.as_plain(result)))
    elif not request["quiet"]:
        from dcd_deploy.reports import renderers, terminal

        renderers.show(terminal.console(), result, request)


def _fail(error: DcdDeployError, request: Mapping[str, Any]) -> NoReturn:
    """Print an error, with --json as an object too, and its one line, with parameters as flags; exit with its code."""
    _present(error, request)
    sys.stdout.flush()
    sys.stderr.write(f"{NAME}: error: {plain(spelled(str(error)))}\n")
    raise typer.Exit(error.exit_code)


def _see_help(command: str = "") -> str:
    return f"see '{' '.join(filter(None, (NAME, command.replace('_', '-'), '--help')))}'"


def run(words: Sequence[str]) -> NoReturn:
    """Run a command line, and exit with its code; of a wrong one with one line that says what is meant."""
    try:
        code = app(words, standalone_mode=False, prog_name=NAME)
    except TyperException as error:
        near = getattr(error, "possibilities", None)
        message = f"{error.message}; did you mean {near[0]}?" if near else error.format_message().rstrip(".")
        context = getattr(error, "ctx", None)
        command = "" if context is None or context.parent is None else context.info_name
        try:
            advice = _see_help(command)
            wrong = UsageError(f"{' '.join(message.split())}; {advice}", advice=advice)
            _fail(wrong, {"json": JSON.flag in words, "quiet": True})
        except typer.Exit as end:
            code = end.exit_code
    sys.exit(code)


def main() -> None:
    """Run the command line. A request to terminate ends it like Ctrl-C, so that nothing is left half-written."""
    settle()
    tell_crashes()
    warnings.showwarning = _show_warning
    atexit.register(_end_without_remarks)
    listen()
    try:
        run(sys.argv[1:])
    except KeyboardInterrupt:
        leave_interrupted()
    except SystemExit as end:  # typer makes 130 of an interruption, wherever it came, and says nothing
        if end.code == INTERRUPTED:
            leave_interrupted()
        raise


def _end_without_remarks() -> None:
    if REMARKS_AT_THE_END in sys.modules:  # no library speaks when it is unloaded, when all that is ours has been said
        discard_native_output()


_python_shows = warnings.showwarning


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


@functools.cache  # said once, from however many places it comes
def _note(text: str) -> None:
    typer.echo(f"{NAME}: note: {plain(spelled(text))}", err=True)


if __name__ == "__main__":
    main()
