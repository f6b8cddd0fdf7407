"""The user's ``adb``: where it is, which phones it sees, and which of them is meant.

    adb = Adb.found()
    phone = Phone(adb, chosen(adb.listed(), None))

What a phone sends is of any length and has anything in it, until it has been through ``cleaned``.
"""

from __future__ import annotations

import os
import re
import shutil
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dcd_deploy.devices.adb.program import Programs, Said
from dcd_deploy.errors import DeviceAnswerError, DeviceError, DeviceRefusedError, MissingDependencyError

LONGEST = 200
LINES_SHOWN, LAST_SHOWN = 5, 3
BAD = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # control and format characters, surrogates, unassigned, separators


def cleaned(text: str, longest: int = LONGEST) -> str:
    """Return one line without control characters, shortened to ``longest`` characters."""
    line = "".join(" " if unicodedata.category(letter) in BAD else letter for letter in text[: 4 * longest])
    line = " ".join(line.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def first_lines(text: str) -> str:
    """Return the first lines that say something, in one line, for a message."""
    lines = [line for line in map(cleaned, text[:100_000].splitlines()) if line]
    return " / ".join(lines[:LINES_SHOWN]) if lines else "nothing"


def last_lines(text: str) -> str:
    """Return the last lines that say something, in one line, for a message."""
    lines = [line for line in map(cleaned, text[-100_000:].splitlines()) if line]
    return " / ".join(lines[-LAST_SHOWN:]) if lines else "nothing"


READY = "device"
SERIAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")
ANSWERS_WITHIN = 30.0
REFUSING = ("unauthorized", "authorizing", "no permissions")
ADVICE = {
    "unauthorized": "unlock the phone and allow this computer to debug it",
    "authorizing": "unlock the phone and allow this computer to debug it",
    "offline": "plug it in again, or run: adb reconnect offline",
    "no permissions": "let this user reach USB devices (udev rules: Debian's android-sdk-platform-tools-common)",
    "recovery": "boot it into Android",
    "sideload": "boot it into Android",
    "bootloader": "boot it into Android",
}


@dataclass(frozen=True)
class Listed:
    """A phone as ``adb devices`` lists it; ``state`` is READY, or says why it cannot be used."""

    serial: str
    state: str
    model: str = ""


class Adb:
    """The program ``adb``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.programs = Programs()

    @classmethod
    def found(cls) -> Adb:
        """Return the ``adb`` on PATH, else the one of the Android SDK that ANDROID_HOME names.

        Raises:
            MissingDependencyError: there is none.
        """
        sdk = os.environ.get("ANDROID_HOME") or os.environ.get("ANDROID_SDK_ROOT")
        places = [shutil.which("adb"), shutil.which("adb", path=f"{sdk}/platform-tools") if sdk else None]
        for place in filter(None, places):
            return cls(Path(place))
        raise MissingDependencyError(
            expected="the program 'adb'",
            found="none on PATH or under ANDROID_HOME",
            advice="install it (Debian: apt install adb) or Android's platform-tools",
        )

    def run(self, *arguments: str, seconds: float = ANSWERS_WITHIN, tidying: bool = False) -> Said:
        """Run ``adb`` with these arguments; for ``tidying`` up also after it was stopped.

        Raises:
            DeviceError: it cannot be started, or was stopped.
            DeviceAnswerError: what it says has no end.
        """
        try:
            said = self.programs.run([str(self.path), *arguments], seconds, tidying=tidying)
        except OSError as error:
            raise DeviceError(f"expected to run '{self.path}', but: {error.strerror or error}") from error
        if said.cut == "size":
            raise DeviceAnswerError(expected="an answer from adb", found=f"one without end: {cleaned(said.out)}")
        return said

    def listed(self) -> list[Listed]:
        """Return the phones that adb knows, also those that cannot be used."""
        said = self.run("devices", "-l")
        if said.code or said.cut:
            raise DeviceError(
                f"expected a list of phones from '{self.path}', found: {last_lines(said.err or said.out)}; "
                "try: adb kill-server"
            )
        return list(_phones(said.out))


def chosen(listed: Sequence[Listed], serial: str | None) -> str:
    """Return the serial of the phone that is meant; without ``serial`` there must be one alone.

    Raises:
        DeviceError: there is no such phone, it does not answer, or it is not clear which is meant.
        DeviceRefusedError: it has not allowed this computer to debug it.
    """
    ready = [phone for phone in listed if phone.state == READY]
    if serial is not None:
        named = [phone for phone in listed if phone.serial == serial]
        if not named:
            hint = f", or run: adb connect {serial}" if re.fullmatch(r"[\w.-]+:\d+", serial) else ""
            raise DeviceError(expected=f"the phone '{serial}'", found=_told(listed), advice=f"check the serial{hint}")
        return _usable(named[0])
    if len(ready) == 1:
        return _usable(ready[0])
    if len(ready) > 1:
        names = " or ".join(f"adb:{phone.serial}" for phone in ready)
        raise DeviceError(expected="one phone", found=_told(ready), advice=f"say which: {names}")
    if len(listed) == 1:
        return _usable(listed[0])
    raise DeviceError(
        expected="a phone that adb sees",
        found=_told(listed),
        advice="plug one in with USB debugging allowed, or run: adb connect HOST:PORT",
    )


def _usable(phone: Listed) -> str:
    if phone.state != READY:
        advice = next((text for state, text in ADVICE.items() if phone.state.startswith(state)), "see: adb devices -l")
        kind = DeviceRefusedError if phone.state.startswith(REFUSING) else DeviceError
        raise kind(f"expected the phone '{phone.serial}' to be ready, found it '{phone.state}'; {advice}")
    return phone.serial


def _phones(text: str) -> Iterable[Listed]:
    """Yield the phones of what ``adb devices -l`` printed; what is before the list is remarks on its server."""
    _, _, rows = text.partition("List of devices attached")
    for row in rows.splitlines():
        parts = row.split(None, 1)
        if len(parts) == 2 and SERIAL.fullmatch(parts[0]):
            facts = parts[1]
            state = facts.split("(")[0].strip() if facts.startswith("no permissions") else facts.split()[0]
            model = re.search(r"\bmodel:(\S+)", facts)
            yield Listed(parts[0], cleaned(state, 30), cleaned(model[1], 60).replace("_", " ") if model else "")


def _told(listed: Sequence[Listed]) -> str:
    if not listed:
        return "none"
    shown = [
        phone.serial + ("" if phone.state == READY else f" ({phone.state})") + (f" ({phone.model})" * bool(phone.model))
        for phone in listed[:8]
    ]
    return ", ".join(shown) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")
