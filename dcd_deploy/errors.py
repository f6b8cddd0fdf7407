"""Every error that a user can meet, each with its own exit code.

A message says what was expected, what was found and what to do, and each is a field of the error too. It names
parameters as `opset`, in backticks; the command line spells them as its flags, ``--opset``, prints the message on one
line and exits with the code.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import ClassVar

PARAMETER = re.compile(r"`([a-z]\w*)`")


class DcdDeployError(Exception):
    """The root of the tree. Itself it stands for a defect of this program, with ``exit_code`` 1.

    Made of a whole message, or of what was ``expected``, what was ``found`` and ``advice``: "expected …, found …;
    advice". Where no other thing was found, ``but`` says the reason: "expected …, but …; advice".
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self, message: str = "", *, expected: object = "", found: object = "", but: object = "", advice: object = ""
    ) -> None:
        self.expected, self.found, self.advice = str(expected), str(found or but), str(advice)
        if self.expected:
            message = f"expected {expected}, " + (f"but {but}" if but else f"found {found}")
            message += f"; {advice}" if advice else ""
        super().__init__(message)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The parameters that the message names, the one that is at fault first."""
        return tuple(dict.fromkeys(PARAMETER.findall(str(self))))


class UsageError(DcdDeployError):
    """The command line has no such command or option, lacks one, or gives a value of another kind."""

    exit_code = 2


class InputFileError(DcdDeployError):
    """An input file is missing, empty, or cannot be read."""

    exit_code = 3


class CheckpointError(DcdDeployError):
    """A file is not a checkpoint, is damaged, or holds something other than weights."""

    exit_code = 4


class CheckpointMismatchError(DcdDeployError):
    """The tensors are those of another network. ``mismatch`` (models.fit.Mismatch) has the exact lists."""

    exit_code = 5

    def __init__(self, message: str, mismatch: object) -> None:
        super().__init__(message)
        self.mismatch = mismatch


class WeightValueError(DcdDeployError):
    """A weight is not a finite real number."""

    exit_code = 6


class UnknownNameError(DcdDeployError):
    """A format, architecture or other named choice does not exist.

    The message has ``advice``, which may be empty, or guesses what was meant.
    """

    exit_code = 7

    def __init__(self, kind: str, name: str, known: Iterable[str], advice: str | None = None) -> None:
        known = tuple(known)
        name = shown(name)
        hint = _guess(name, known) if advice is None else advice
        said = f": {hint}" if hint else ""
        said += "" if hint.endswith("?") else "."
        super().__init__(f"unknown {kind} '{name}'{said} Known: {', '.join(known)}")
        self.expected, self.found, self.advice = f"a {kind} of {', '.join(known)}", name, hint


class OptionError(DcdDeployError):
    """A value is outside what the command or the network allows (an input size too small, a bad label file)."""

    exit_code = 8


class VerificationError(DcdDeployError):
    """What was computed is not what was trained. ``report`` is the VerificationReport, where one was made."""

    exit_code = 9
    report: object = None

    def __init__(self, message: str = "", report: object = None, **fields: object) -> None:
        super().__init__(message, **fields)
        self.report = report


class OutputError(DcdDeployError):
    """A result cannot be written: no permission, no such folder, no space."""

    exit_code = 10


class MissingDependencyError(DcdDeployError):
    """An optional package is not installed; the message names the extra that brings it."""

    exit_code = 11


class ModelFileError(DcdDeployError):
    """A model file cannot be opened or run, or is not one of ours where it has to be."""

    exit_code = 12


class ExportError(DcdDeployError):
    """A converter refused the network, or produced something else than was asked for."""

    exit_code = 13


class ResultFileError(DcdDeployError):
    """A file is not a benchmark's result, is damaged, or of another schema version."""

    exit_code = 14


class BenchError(DcdDeployError):
    """A trial could not be measured: the runtime crashed or hung. ``result`` (BenchResult) has the other trials."""

    exit_code = 15
    result: object = None

    def __init__(self, message: str = "", result: object = None, **fields: object) -> None:
        super().__init__(message, **fields)
        self.result = result


class DeviceError(DcdDeployError):
    """A device cannot be reached: no such host or serial, or nothing answers there.

    ``result`` (BenchResult) has what was measured, there before and elsewhere.
    """

    exit_code = 17
    result: object = None

    def __init__(self, message: str = "", result: object = None, **fields: object) -> None:
        super().__init__(message, **fields)
        self.result = result


class DeviceRefusedError(DeviceError):
    """A device does not let us in: it takes none of our keys, or has not allowed this computer."""

    exit_code = 18


class DeviceIdentityError(DeviceError):
    """A device has not the host key that it had, or one that nobody has accepted yet."""

    exit_code = 19


class DeviceLackError(DeviceError):
    """A device has no Python, no runtime or no room for what is to be measured, or a runner that it cannot run."""

    exit_code = 20


class DeviceLostError(DeviceError):
    """The connection to a device was lost while it was in use."""

    exit_code = 21


class DeviceAnswerError(DeviceError):
    """A device answered something else than our runner would: wrong in form, in size or in its numbers."""

    exit_code = 22


class IncomparableError(DcdDeployError):
    """Two results come from machines, versions or settings that differ."""

    exit_code = 16


class LoweringFileError(DcdDeployError):
    """A tuned lowering is damaged, or of another network, runtime version or device."""

    exit_code = 23


class NetworkError(DcdDeployError):
    """A user's own Python file does not make a network, or the checkpoint's weights are not those of that network."""

    exit_code = 24


class CaptureError(DcdDeployError):
    """A module cannot be exported as it is: it does not run on its example, or its forward cannot be followed."""

    exit_code = 25


def _guess(name: str, known: tuple[str, ...]) -> str:
    begun = [one for one in known if name and one.startswith(name.lower())]
    near = begun or difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.0)
    return f"did you mean '{near[0]}'?" if near else ""


INTERRUPTED = 130
LONGEST_SHOWN = 80


def shown(text: str, most: int = LONGEST_SHOWN) -> str:
    """Return a text from outside as a message may show it: what could steer a terminal escaped, a long one cut."""
    if len(text) > most:
        return f"{shown(text[:most], most)}… ({len(text)} characters)"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def remade(kind: str, message: str, fields: Iterable[str] = ("", "", "")) -> DcdDeployError:
    """Return an error that another process raised: of the class that is called ``kind``, with what it said.

    ``fields`` are what was expected, what was found, and the advice.
    """
    cls = next((each for each in _below(DcdDeployError) if each.__name__ == kind), DcdDeployError)
    error = cls.__new__(cls)
    DcdDeployError.__init__(error, message)
    error.expected, error.found, error.advice = fields
    return error


def exit_codes() -> dict[int, type[DcdDeployError]]:
    """Return every exit code and the error behind it."""
    return {cls.exit_code: cls for cls in _below(DcdDeployError)}


def _below(cls: type[DcdDeployError]) -> Iterator[type[DcdDeployError]]:
    for kind in cls.__subclasses__():
        yield kind
        yield from _below(kind)
