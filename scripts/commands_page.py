"""Write docs/commands.md from the command line itself, so that the page cannot say otherwise."""

from __future__ import annotations

import inspect
import re
from typing import Any

import typer
from pages import DOCS

from dcd_deploy.cli.app import app
from dcd_deploy.commands.networks import NetworkOptions
from dcd_deploy.errors import exit_codes

PAGE = DOCS / "commands.md"
HEAD = """# Commands

Made from the program by `python scripts/commands_page.py`; `dcd-deploy COMMAND --help` says the same. The same
commands are functions in Python, under the same words: [Python](python.md).

Results go to standard output, progress and errors to standard error; `--json` prints one object and nothing else. An
error is one line that says what was expected, what was found and what to do; nothing is left half-written, and each
kind has its own [exit code](#exit-codes)."""
CODES = """## Exit codes

| code | meaning |
|--:|---|
| 0 | done |
| 1 | a defect of this program |
| 2 | wrong use of the command line |"""
NETWORK = """## Which network it is

[Checkpoints](checkpoints.md) and [your own network](own-network.md) say what each is for.
"""
OF_THE_NETWORK = set(NetworkOptions.__annotations__)
DEFAULT_AT_THE_END = re.compile(r" \\?\[(?:default: )?([^\]]+)\]$")
INTERRUPTED = "| 130 | interrupted |"


def page() -> str:
    """Return the whole page."""
    group: Any = typer.main.get_command(app)
    names = "\n".join(f"* [`{name}`](#{name}): {_first_line(command)}" for name, command in group.commands.items())
    parts = [HEAD, names, *(_section(name, command) for name, command in group.commands.items())]
    network = [entry for entry in group.commands["export"].params if entry.name in OF_THE_NETWORK]
    codes = [f"| {code} | {_meaning(kind)} |" for code, kind in sorted(exit_codes().items())]
    return "\n\n".join([*parts, _table(NETWORK, network), "\n".join([CODES, *codes, INTERRUPTED])]) + "\n"


def _first_line(command: Any) -> str:
    return str(command.help or "").strip().partition("\n")[0]


def _meaning(kind: type[Exception]) -> str:
    """Return the first sentence of an error's docstring."""
    return re.split(r"\. |\n", inspect.cleandoc(kind.__doc__ or ""), maxsplit=1)[0].rstrip(".")


def _section(name: str, command: Any) -> str:
    shared = OF_THE_NETWORK & {entry.name for entry in command.params}
    shared = shared if "network" in shared else set()
    own = [entry for entry in command.params if entry.name != "help" and entry.name not in shared]
    arguments = [entry for entry in own if entry.param_type_name == "argument"]
    usage = " ".join(["dcd-deploy", name, *map(_written, arguments), "[OPTIONS]"])
    head = f"## {name}\n\n{inspect.cleandoc(command.help or '')}\n\n```\n{usage}\n```\n"
    return _table(head, sorted(own, key=lambda entry: entry not in arguments)) + (_link(shared) if shared else "")


def _link(shared: set[str]) -> str:
    missing = sorted(OF_THE_NETWORK - shared)
    but = f", but {' and '.join(_option(name) for name in missing)}" if missing else ""
    return f"\n\nAnd the options about [which network it is](#which-network-it-is){but}."


def _option(name: str) -> str:
    return f"`--{name.replace('_', '-')}`"


def _table(head: str, entries: list[Any]) -> str:
    rows = [f"| {_names(entry)} | {_help(entry)} | {_default(entry)} |" for entry in entries]
    return "\n".join([head, "| | | default |", "|---|---|---|", *rows])


def _names(entry: Any) -> str:
    if entry.param_type_name == "argument":
        return f"`{_written(entry)}`"
    return ", ".join(f"`{name}`" for name in (*entry.opts, *entry.secondary_opts))


def _written(argument: Any) -> str:
    word = argument.name.upper() + ("…" if argument.nargs == -1 else "")
    return word if argument.required else f"[{word}]"


def _help(entry: Any) -> str:
    """Return what the help says, less the default at its end."""
    text = DEFAULT_AT_THE_END.sub("", entry.help or "")
    return text.replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[")


def _default(entry: Any) -> str:
    if entry.required:
        return "required"
    said = DEFAULT_AT_THE_END.search((entry.help or "").replace("\\[", "["))
    if said:
        return said[1]
    default = entry.default
    nothing = default is None or default == "" or callable(default) or isinstance(default, bool | list | tuple)
    return "" if nothing else f"`{default}`"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
