"""What users call devices, taken apart; every part is of a plain alphabet, so that none can become an option or shell.

local
ssh://[user@]host[:port]      host: a name, also one of ~/.ssh/config, an address, or [an IPv6 address]
adb[:serial]
arm64-emulated[:core]
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dcd_deploy.benchmarks.process import LOCAL
from dcd_deploy.emulation.cores import EMULATED
from dcd_deploy.errors import OptionError, UnknownNameError

SSH, ADB = "ssh", "adb"
KINDS = (LOCAL, SSH, ADB, EMULATED)
FORMS = {
    LOCAL: LOCAL,
    SSH: "ssh://[user@]host[:port]",
    ADB: "adb[:serial]",
    EMULATED: "arm64-emulated[:core]",
}
LONGEST = 255
WORD = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"  # never begins with "-", and has nothing that a shell or ssh's own % takes
HOST = re.compile(
    rf"(?:(?P<user>{WORD})@)?(?:(?P<host>{WORD})|\[(?P<address>[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\])(?::(?P<port>[0-9]{{1,5}}))?"
)
PYTHON = re.compile(r"[A-Za-z0-9_/][A-Za-z0-9_./+-]*")  # a command or a path that a shell there may be told
SERIAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")  # "emulator-5554", "192.168.1.5:5555"


@dataclass(frozen=True)
class DeviceName:
    """A device as it was named. ``text`` is how reports call it; of ``part`` a serial or a core; the rest is ssh's."""

    kind: str
    text: str
    part: str | None = None
    user: str | None = None
    host: str | None = None
    port: int | None = None


def parse_device(text: str) -> DeviceName:
    """Return what ``text`` names.

    Raises:
        UnknownNameError: there is no such kind of device.
        OptionError: a part of the name cannot be one.
    """
    text = text.strip()
    kind = SSH if text.startswith("ssh:") else text.partition(":")[0]
    if kind not in KINDS:
        raise UnknownNameError("device", text[:80], FORMS.values())
    if len(text) > LONGEST:
        raise _misnamed(kind, text)
    if kind == SSH:
        return _ssh(text)
    part = text.partition(":")[2] if ":" in text else None
    if part is not None and (kind == LOCAL or not SERIAL.fullmatch(part)):
        raise _misnamed(kind, text)
    return DeviceName(kind, text, part)


def _ssh(text: str) -> DeviceName:
    found = HOST.fullmatch(text.removeprefix("ssh://")) if text.startswith("ssh://") else None
    if found is None:
        raise _misnamed(SSH, text)
    port = None if found["port"] is None else int(found["port"])
    if port is not None and not 1 <= port <= 65535:
        raise _misnamed(SSH, text)
    return DeviceName(SSH, text, None, found["user"], found["host"] or found["address"], port)


def _misnamed(kind: str, text: str) -> OptionError:
    return OptionError(
        expected=f"a device of the form {FORMS[kind]}, in letters, digits, '_', '.' and '-'", found=f"'{text[:80]}'"
    )
