"""What annotates the parameters of the commands, once: the help, and how a command line or a file gives them.

    def export(checkpoint: Annotated[StrPath, Argument("Checkpoint.")], *, opset: Annotated[int, Option("…")] = 18)

A parameter without such a record, such as ``progress``, is Python's alone.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, get_args, get_origin, get_type_hints

StrPath = str | os.PathLike[str]

# The headings in --help, in the order in which they come after the essentials.
FORM = "Form of the file"
PICTURES = "Pictures"
CHECKS = "Verification"
MEASURING = "Measuring"
DEVICES = "Devices"
NETWORK = "Which network"


@dataclass(frozen=True)
class Option:
    """An option: its help, its heading, and in words what is taken where it is left out.

    ``several``: it may be given several times. ``beside``: a settings file beside a checkpoint may give it, which came
    with the checkpoint and is trusted no more: it runs no code, reaches no device, writes nowhere, loosens no check.
    ``short`` is its one-letter form.
    """

    help: str
    group: str = ""
    default: str = ""
    several: bool = False
    beside: bool = False
    short: str = ""


@dataclass(frozen=True)
class Argument(Option):
    """What is given by its place."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a command.

    ``kind`` is what a text for it becomes: str, Path, int, float or bool. ``paths``: it may name a file. ``many``: it
    takes any number of values.
    """

    name: str
    option: Option
    kind: type
    default: Any
    required: bool = False
    many: bool = False
    paths: bool = False

    @property
    def flag(self) -> str:
        """How the command line spells it: ``--input-size``, or ``CHECKPOINT`` of an argument."""
        name = self.name.rstrip("_")  # which keeps a name apart from a word of Python's
        return name.upper() if isinstance(self.option, Argument) else f"--{name.replace('_', '-')}"

    @property
    def forms(self) -> tuple[str, ...]:
        """All ways to write it; a switch that is not simply off has one for each side."""
        both = self.kind is bool and self.default is not False
        written = f"{self.flag}/--no-{self.flag.removeprefix('--')}" if both else self.flag
        return (written, self.option.short) if self.option.short else (written,)

    @property
    def default_words(self) -> str:
        """What is taken where it is left out; nothing where that needs no words."""
        plain = self.default is not None and self.default != () and not isinstance(self.default, bool)
        return self.option.default or (str(self.default) if plain else "")


def parameters(command: Callable[..., Any]) -> tuple[Parameter, ...]:
    """Return the annotated parameters of a command, those of its ``**network`` included."""
    signature = inspect.signature(command)
    annotations = {name: value for name, value in command.__annotations__.items() if name != "return"}
    hints = get_type_hints(SimpleNamespace(__annotations__=annotations), command.__globals__, include_extras=True)
    return tuple(found for entry in signature.parameters.values() for found in _parameters(entry, hints[entry.name]))


def _parameters(entry: inspect.Parameter, hint: Any) -> Iterator[Parameter]:
    if entry.kind is entry.VAR_KEYWORD:
        (options,) = get_args(hint)  # of Unpack
        for name, inner in get_type_hints(options, include_extras=True).items():
            yield from _parameter(entry.replace(name=name, kind=entry.KEYWORD_ONLY, default=None), inner)
    else:
        yield from _parameter(entry, hint)


def _parameter(entry: inspect.Parameter, hint: Any) -> Iterator[Parameter]:
    if get_origin(hint) is not Annotated:
        return
    shape, *records = get_args(hint)
    for option in records:
        if isinstance(option, Option):
            kind, many = _kind(shape), option.several or entry.kind is entry.VAR_POSITIONAL
            required = entry.default is entry.empty and not option.default
            default = None if entry.default is entry.empty else entry.default
            default = False if default is None and shape is bool else default
            yield Parameter(entry.name, option, kind, default, required, many, _names_files(shape))


def _kind(shape: Any) -> type:
    """Return what a text for a parameter becomes: a number where nothing else is taken, else a path or a text."""
    kinds = {kind for kind in (get_args(shape) or (shape,)) if kind is not type(None)}
    for number in (bool, int, float):
        if kinds == {number}:
            return number
    return Path if _names_files(shape) and Path not in kinds else str


def _names_files(shape: Any) -> bool:
    """Whether a path may be given, and is not just one way to say it."""
    return bool({os.PathLike[str], Path} & set(get_args(shape)))
