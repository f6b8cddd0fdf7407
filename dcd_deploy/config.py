"""Defaults of options from a file ``dcd-deploy.toml``: beside the checkpoint, else in the project.

    [defaults]          of every command that has the option
    input-size = 64
    [export]            of one command; options as on the command line, without the dashes
    target = "litert"

The project's is that of the working directory, or of a folder above it up to the project's root, which has a .git or a
pyproject.toml. A file beside a checkpoint came with it: of its options only those are taken that run no code, reach no
device, write nowhere and loosen no check (``Option.beside``), and its paths must lie in its folder.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dcd_deploy.commands.options import Argument, Parameter
from dcd_deploy.errors import InputFileError, OptionError, UnknownNameError

NAME = "dcd-deploy.toml"
ROOT_MARKS = (".git", "pyproject.toml")
DEFAULTS = "defaults"
MOST_BYTES = 1 << 16
WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path as a text"}
TAKEN = {bool: (bool,), int: (int,), float: (int, float), str: (str, int), Path: (str,)}

Parameters = Mapping[str, tuple[Parameter, ...]]  # of each command


@dataclass(frozen=True)
class Setting:
    """The value of an option, and where it comes from."""

    option: str
    value: Any
    source: str


@dataclass(frozen=True)
class Config:
    """A file of defaults: what it says by table, and whether it lies beside the checkpoint; ``path`` None: no file."""

    path: Path | None = None
    beside: bool = False
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)

    def values(self, command: str, known: Parameters) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return the values for a command, and the options that are not taken from a file beside a checkpoint.

        Raises:
            UnknownNameError: a table is no command, or a key no option.
            OptionError: a value is of another kind, or a path leads out of the folder of a checkpoint.
        """
        for title, table in self.tables.items():
            self._check_names(title, table, known)
        wanted = self.tables.get(DEFAULTS, {}) | self.tables.get(command, {})
        own = {entry.name: entry for entry in _options(known[command])}
        mine = {name: value for name, value in wanted.items() if name in own}
        refused = tuple(name for name in mine if self.beside and not own[name].option.beside)
        return {name: self._read(own[name], value) for name, value in mine.items() if name not in refused}, refused

    def _check_names(self, title: str, table: Mapping[str, Any], known: Parameters) -> None:
        if title not in (DEFAULTS, *known):
            raise UnknownNameError(f"table in '{self.path}'", title, (DEFAULTS, *known))
        commands = known.values() if title == DEFAULTS else (known[title],)
        names = dict.fromkeys(entry.name for command in commands for entry in _options(command))
        for name in table:
            if name not in names:
                raise UnknownNameError(f"option of [{title}] in '{self.path}'", name, names)

    def _read(self, parameter: Parameter, value: Any) -> Any:
        """Return a value as the command line would give it; a path is taken from the file's folder."""
        if parameter.many:
            return [self._read_one(parameter, one) for one in (value if isinstance(value, list) else [value])]
        return self._read_one(parameter, value)

    def _read_one(self, parameter: Parameter, value: Any) -> Any:
        kind = parameter.kind
        if not isinstance(value, TAKEN[kind]) or (isinstance(value, bool) and kind is not bool):
            raise OptionError(
                expected=f"`{parameter.name}` in '{self.path}' as {WORDS[kind]}",
                found=repr(value)[:80],
            )
        if kind in (str, Path):
            return self._path(parameter, str(value))
        return kind(value)

    def _path(self, parameter: Parameter, text: str) -> str:
        assert self.path is not None
        folder = self.path.parent
        if parameter.kind is not Path and not (parameter.paths and (folder / text).is_file()):
            return text
        if self.beside and not (folder / text).resolve().is_relative_to(folder.resolve()):
            raise OptionError(
                expected=f"`{parameter.name}` in '{self.path}' as a path within that folder",
                found=repr(text)[:80],
                advice="a file beside a checkpoint names no others; give the path on the command line",
            )
        return str(folder / text)


@dataclass(frozen=True)
class Configured:
    """The values of a command's options that a file gives."""

    config: Config
    values: dict[str, Any]
    refused: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of the file."""
        if not self.refused:
            return ()
        names = ", ".join(f"`{name}`" for name in self.refused)
        where = f"give such options on the command line or in the {NAME} of your project"
        return (f"not taken from '{self.config.path}', which came with the checkpoint: {names}; {where}",)

    def settings(self, taken: Sequence[Parameter], given: Mapping[str, Any]) -> list[Setting]:
        """Return each option of a command with its value and where it comes from."""
        found = []
        for entry in taken:
            name, value, source = entry.name, entry.option.default or entry.default, "default"
            if name in given:
                value, source = given[name], "command line"
            elif name in self.values:
                value, source = self.values[name], str(self.config.path)
            elif name in self.refused:
                source = f"default; not taken from {self.config.path}"
            found.append(Setting(entry.flag, value, source))
        return found


def configured(
    command: str, taken: Sequence[Parameter], given: Mapping[str, Any], known: Callable[[], Parameters]
) -> Configured:
    """Return what the file that counts gives for the options of a command; ``known`` tells those of all commands.

    Raises:
        InputFileError, UnknownNameError, OptionError: the file is damaged or says what no command knows.
    """
    config = read_config(_checkpoint(taken, given))
    if config.path is None:
        return Configured(config, {})
    return Configured(config, *config.values(command, known()))


def _checkpoint(taken: Sequence[Parameter], given: Mapping[str, Any]) -> Path | None:
    """Return the checkpoint of a command line, or else the file that it begins with."""
    files = [entry.name for entry in taken if entry.kind is Path and isinstance(entry.option, Argument)]
    for name in ("checkpoint", *files):
        if value := given.get(name):
            return Path(value[0] if isinstance(value, list) else value)
    return None


def _options(command: tuple[Parameter, ...]) -> Iterator[Parameter]:
    return (entry for entry in command if not isinstance(entry.option, Argument))


def read_config(checkpoint: Path | None) -> Config:
    """Return the file that counts for a checkpoint, read.

    Raises:
        InputFileError: it cannot be read, or is no TOML of tables.
    """
    path = None if checkpoint is None else checkpoint.parent / NAME
    if path is not None and path.is_file():
        return Config(path, beside=True, tables=_tables(path))
    path = _of_the_project(Path.cwd())
    return Config() if path is None else Config(path, tables=_tables(path))


def _of_the_project(folder: Path) -> Path | None:
    places = [folder, *folder.parents]
    root = next((place for place in places if any((place / mark).exists() for mark in ROOT_MARKS)), folder)
    within = places[: places.index(root) + 1]
    return next((place / NAME for place in within if (place / NAME).is_file()), None)


def _tables(path: Path) -> dict[str, dict[str, Any]]:
    advice = "mend it, or move it away"
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise InputFileError(expected=f"at most {MOST_BYTES} bytes in '{path}'", found="more", advice=advice)
        tables = tomllib.loads(content.decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputFileError(expected=f"defaults in TOML in '{path}'", found=f"that {error}", advice=advice) from error
    for title, table in tables.items():
        if not isinstance(table, dict):
            raise InputFileError(
                expected=f"tables such as [{DEFAULTS}] and [export] in '{path}'",
                found=f"'{title}' outside of one",
                advice=advice,
            )
    return {
        title.replace("_", "-"): {name.replace("-", "_"): value for name, value in table.items()}
        for title, table in tables.items()
    }
