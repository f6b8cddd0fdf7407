"""Write docs/commands.md from the command line itself, so that the page cannot say otherwise."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from pages import DOCS

from dcd_deploy.cli import entries, summary, title
from dcd_deploy.commands import COMMANDS, export
from dcd_deploy.commands.network_options import NetworkOptions
from dcd_deploy.commands.options import Argument, Parameter
from dcd_deploy.errors import exit_codes
from dcd_deploy.reports.terminal import spelled

PAGE = DOCS / "commands.md"
HEAD = """# Commands

Made from the program by `python scripts/commands_page.py`; `dcd-deploy COMMAND --help` says the same. The same
commands are functions in Python, under the same words: [Python](python.md).

Results go to standard output, progress and errors to standard error; `--json` prints one object and nothing else. An
error is one line that says what was expected, what was found and what to do; nothing is left half-written, and each
kind has its own [exit code](#exit-codes)."""
DEFAULTS = """## Defaults from a file

`dcd-deploy.toml` gives options that are not on the command line, under the same names without the dashes; a path is
taken from the file's folder:

```toml
[defaults]          # of every command that has the option
input-size = 192
target = "onnxruntime-x86"

[export]            # of one command
out = "deploy"
with-baseline = true
```

The file in the checkpoint's folder counts, or else the project's: that of the working directory, or of a folder above
it up to the project's root, which has a `.git` or a `pyproject.toml`. A file beside a checkpoint came with it and is
trusted no more than it: options that run code (`--network`), write (`--out`), reach a device or loosen a check
(`--tolerance`) are not taken from it, which is said, and its paths must lie in its folder. `--show-config` prints
each option's value and where it comes from, and does nothing else. An unknown table or option is refused.

`dcd-deploy --install-completion` lets your shell complete options."""
CODES = """## Exit codes

| code | meaning |
|--:|---|
| 0 | done |
| 1 | a defect of this program |"""
NETWORK = """## Which network it is

[Checkpoints](checkpoints.md) and [your own network](own-network.md) say what each is for.
"""
OF_THE_NETWORK = set(NetworkOptions.__annotations__)
INTERRUPTED = "| 130 | interrupted |"


def page() -> str:
    """Return the whole page."""
    names = "\n".join(f"* [`{title(each)}`](#{title(each)}): {summary(each)}" for each in COMMANDS)
    parts = [HEAD, names, *map(_section, COMMANDS)]
    network = [entry for entry in entries(export) if entry.name in OF_THE_NETWORK]
    codes = [f"| {code} | {_meaning(kind)} |" for code, kind in sorted(exit_codes().items())]
    return "\n\n".join([*parts, _table(NETWORK, network), DEFAULTS, "\n".join([CODES, *codes, INTERRUPTED])]) + "\n"


def _meaning(kind: type[Exception]) -> str:
    """Return the first sentence of an error's docstring."""
    return re.split(r"\. |\n", inspect.cleandoc(kind.__doc__ or ""), maxsplit=1)[0].rstrip(".")


def _section(command: Callable[..., Any]) -> str:
    taken = entries(command)
    shared = OF_THE_NETWORK & {entry.name for entry in taken}
    shared = shared if "network" in shared else set()
    own = [entry for entry in taken if entry.name not in shared]
    arguments = [entry for entry in own if isinstance(entry.option, Argument)]
    usage = " ".join(["dcd-deploy", title(command), *map(_written, arguments), "[OPTIONS]"])
    head = f"## {title(command)}\n\n{summary(command)}\n\n```\n{usage}\n```\n"
    return _table(head, own) + (_link(shared) if shared else "")


def _link(shared: set[str]) -> str:
    missing = sorted(OF_THE_NETWORK - shared)
    but = f", but {' and '.join(f'`--{name}`'.replace('_', '-') for name in missing)}" if missing else ""
    return f"\n\nAnd the options about [which network it is](#which-network-it-is){but}."


def _table(head: str, rows: list[Parameter]) -> str:
    lines = [f"| {_names(entry)} | {_help(entry)} | {_default(entry)} |" for entry in rows]
    return "\n".join([head, "| | | default |", "|---|---|---|", *lines])


def _names(entry: Parameter) -> str:
    if isinstance(entry.option, Argument):
        return f"`{_written(entry)}`"
    return ", ".join(f"`{name}`" for form in entry.forms for name in form.split("/"))


def _written(entry: Parameter) -> str:
    word = entry.flag + ("…" if entry.many else "")
    return word if entry.required else f"[{word}]"


def _help(entry: Parameter) -> str:
    text = spelled(entry.option.help)
    return text.replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[")


def _default(entry: Parameter) -> str:
    if entry.required:
        return "required"
    return entry.option.default or (f"`{entry.default_words}`" if entry.default_words else "")


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
