"""A phone that has a Python with numpy and the runtime: our runner measures there, as on a board.

The shell that adb opens may run what lies in the phone's open folders, and what a rooted phone or a debuggable app lets
it; an app's own Python (Termux) is otherwise closed to it, and is reached by ssh to the app (``docs/devices.md``).
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dcd_deploy.benchmarks.environment import Environment
from dcd_deploy.benchmarks.worker import Request, WorkerAnswer
from dcd_deploy.devices.adb.client import last_lines
from dcd_deploy.devices.adb.facts import phone_name, phone_system, snapshot
from dcd_deploy.devices.adb.phone import FOLDER, IN_THE_SHELL, Noticing, Phone
from dcd_deploy.devices.bundle import START
from dcd_deploy.devices.device import DeviceFacts
from dcd_deploy.devices.names import PYTHON
from dcd_deploy.devices.remote import RemoteDevice
from dcd_deploy.devices.session import Link
from dcd_deploy.errors import DeviceError, DeviceLackError, DeviceLostError, OptionError
from dcd_deploy.progress import Progress, silent

TERMUX = "/data/data/com.termux/files/usr/bin/python3"
PLACES = ("python3", "python", TERMUX)
NONE_THERE = 127


def found_python(phone: Phone, python: str | None) -> str | None:
    """Return the Python of the phone that is to be used: ``python``, or the first of the usual places.

    Raises:
        OptionError: ``python`` is not of the alphabet that paths have.
        DeviceLackError: it is not there.
    """
    if python is not None and not PYTHON.fullmatch(python):
        raise OptionError(
            expected="python as a path in letters, digits, '_', '.', '+', '-' and '/'", found=f"'{python[:80]}'"
        )
    for place in PLACES if python is None else (python,):
        if phone.script(f"command -v {shlex.quote(place)} >/dev/null").code == 0:
            return place
    if python is not None:
        raise DeviceLackError(
            expected=f"the Python '{python}' on the phone '{phone.serial}'",
            found="none there that adb's shell may run",
            advice="an app's own is closed to it: see docs/devices.md",
        )
    return None


def python_command(python: str) -> str:
    """Return what the phone's shell is told; its home folder would be /, which nobody can write."""
    start = f'exec {shlex.quote(python)} -c "{START}"'
    return f'export HOME={FOLDER} TMPDIR={FOLDER}; mkdir -p "$HOME" && cd "$HOME" && {start}'


class PythonPhone(RemoteDevice):
    """A phone on which ``command``, a line for its shell, starts Python.

    Raises:
        DeviceError: it cannot be reached or used.
    """

    def __init__(self, name: str, phone: Phone, command: str) -> None:
        self.phone = phone
        self._noticing = Noticing()
        first = snapshot(phone)
        self._facts = (phone_name(first), phone_system(first))
        phone.hold.take()
        arguments = (str(phone.adb.path), "-s", phone.serial, "shell", "-T", command)
        try:
            super().__init__(name, Link(arguments, self._explain, notes=(IN_THE_SHELL,)))
        except BaseException:
            phone.remove(FOLDER)
            phone.hold.release()
            raise

    def environment(self) -> Environment:
        """Return what it is at this moment."""
        return self._named(super().environment())

    def describe(self) -> DeviceFacts:
        """Return what it is."""
        facts = super().describe()
        return replace(facts, environment=self._named(facts.environment))

    def setup(self, progress: Progress = silent) -> None:
        """Refuse: Android's own Pythons install by their own means.

        Raises:
            DeviceLackError: always.
        """
        del progress
        raise no_setup()

    def clean(self) -> None:
        """Remove all that this program ever left on the phone."""
        super().clean()
        self.phone.remove(FOLDER)

    def prepare(self, models: Sequence[Path], runtime: str, progress: Progress = silent) -> None:
        """Send the files that are not there; ``runtime`` has to be there."""
        with self._noticing.within():
            super().prepare(models, runtime, progress)

    def ask(self, request: Request, time_limit: float) -> WorkerAnswer:
        """Let the worker measure there."""
        with self._noticing.within():
            return super().ask(request, time_limit)

    def close(self) -> None:
        """Let go of it: what is under way there ends, and after a failure nothing that was sent stays."""
        super().close()
        if self._noticing.failed:
            self.phone.remove(FOLDER)
        self.phone.hold.release()

    def _named(self, found: Environment) -> Environment:
        return replace(found, cpu=self._facts[0], system=self._facts[1])

    def _explain(self, code: int | None, words: str) -> DeviceError:
        said = last_lines(words)
        if code == NONE_THERE or "not found" in said or "inaccessible" in said:
            return DeviceLackError(f"expected Python on the phone '{self.phone.serial}', found: {said}")
        return DeviceLostError(
            expected=f"our runner to start on the phone '{self.phone.serial}'", found=f"exit code {code}: {said}"
        )


def no_setup() -> DeviceLackError:
    """Return the error of a phone on which nothing can be installed from here."""
    return DeviceLackError(
        expected="a device on which something can be installed",
        found="a phone over adb",
        advice="give a `runner`, or install Python and the runtime in Termux (docs/devices.md)",
    )
