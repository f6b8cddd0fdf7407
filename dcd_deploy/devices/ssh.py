"""A board over ssh: the system's own client, with the user's configuration, keys, agent and known hosts.

One ssh process is one connection and carries everything: the runner, the models, requests and answers. When it ends,
for whatever reason, the runner there sees the end of its input, ends the trial that it was at, and itself. What it
means that it ended before the runner had said a word is told by what ssh says, and by its exit code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dcd_deploy.devices.bundle import FOLDER, START
from dcd_deploy.devices.names import PYTHON, DeviceName
from dcd_deploy.devices.remote import RemoteDevice
from dcd_deploy.devices.session import Link
from dcd_deploy.errors import (
    DeviceAnswerError,
    DeviceError,
    DeviceIdentityError,
    DeviceLackError,
    DeviceRefusedError,
    MissingDependencyError,
    OptionError,
)

SSH_FAILED, CANNOT_START = 255, (126, 127)
WORDS = 200  # characters of what ssh said


@dataclass(frozen=True)
class SshFailure:
    """What ssh says (a pattern), which error that is, and its message; {device}, {ssh} and {key} stand in it."""

    pattern: str
    error: type[DeviceError]
    message: str


# The first that is found counts; ssh speaks English under the locale C, whatever the user's is.
FAILURES = (
    SshFailure(
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        DeviceIdentityError,
        "expected the host key that {device} had, found another: it was set up anew, or someone else answers in its "
        "place; if you know why, run: ssh-keygen -R {key}",
    ),
    SshFailure(
        r"Host key verification failed|host key is known for",
        DeviceIdentityError,
        "expected a host key of {device} that you accepted before, found one that you have not; connect once by hand, "
        "and compare the fingerprint: {ssh}",
    ),
    SshFailure(
        r"Permission denied|Too many authentication failures",
        DeviceRefusedError,
        "expected {device} to take one of your keys, but it takes none; send it one with ssh-copy-id, or give a key "
        "with a passphrase to your agent (ssh-add): no password can be asked for here. Try: {ssh}",
    ),
    SshFailure(
        r"Could not resolve hostname",
        DeviceError,
        "expected to reach {device}, but there is no host of that name; check it, or your ~/.ssh/config",
    ),
    SshFailure(
        r"Connection refused",
        DeviceError,
        "expected to reach {device}, but nothing listens for ssh there; check the port, and start sshd on it",
    ),
    SshFailure(
        r"timed out|No route to host|Network is unreachable",
        DeviceError,
        "expected to reach {device}, but it does not answer; is it on, and in your network?",
    ),
)


def explain(name: DeviceName, code: int | None, words: str) -> DeviceError:
    """Return the error of an ssh that ended with ``code`` (None: it still runs, and nothing comes) and these words."""
    places = {"device": name.text, "ssh": _by_hand(name), "key": _known_as(name)}
    for failure in FAILURES:
        if code in (None, SSH_FAILED) and re.search(failure.pattern, words):  # else it was not ssh that spoke
            return failure.error(failure.message.format(**places))
    plain = ("".join(char if char.isprintable() else " " for char in line).strip() for line in words.splitlines())
    lines = [line for line in plain if line]
    last = f" ({' / '.join(lines[-2:])[-WORDS:]})" if lines else ""
    advice = f"try by hand: {_by_hand(name)}"
    if code in CANNOT_START:
        return DeviceLackError(
            expected=f"Python 3.9 or later on {name.text}",
            but=f"none starts there{last}",
            advice='install one, or name another in a fleet file: python = "/usr/local/bin/python3.11"',
        )
    if code is None:
        return DeviceError(expected=f"{name.text} to answer", but=f"nothing comes{last}", advice=advice)
    if code == SSH_FAILED:
        return DeviceError(expected=f"to reach {name.text}", but=f"ssh fails{last}", advice=advice)
    return DeviceAnswerError(
        expected=f"our runner to start on {name.text}",
        but=f"what starts there ends with exit code {code}{last}",
        advice=advice,
    )


def _by_hand(name: DeviceName) -> str:
    port = f"-p {name.port} " if name.port else ""
    return f"ssh {port}{f'{name.user}@' if name.user else ''}{name.host}"


def _known_as(name: DeviceName) -> str:
    return f"[{name.host}]:{name.port}" if name.port and name.port != 22 else f"{name.host}"


OPTIONS = (
    "-T",  # no terminal
    "-a",  # the agent stays here
    "-x",
    *("-e", "none"),
    *("-o", "BatchMode=yes"),  # a question would never be answered
    *("-o", "ClearAllForwardings=yes"),
    *("-o", "PermitLocalCommand=no"),
    *("-o", "RemoteCommand=none"),  # a configured one would stand in the way of ours
    *("-o", "ConnectTimeout=15"),
    *("-o", "ServerAliveInterval=10"),
    *("-o", "ServerAliveCountMax=3"),
    *("-o", "LogLevel=INFO"),  # what it says is how failures are told apart
)
C_LOCALE = {"LC_ALL": "C"}
OURS = f'p="$HOME/{FOLDER}/venv/bin/python3"; [ -x "$p" ] || p=$(command -v python3 || command -v python) || exit 127'


class SshDevice(RemoteDevice):
    """A board that is connected; ``python`` is the one to use there, in place of our environment or its python3.

    Raises:
        DeviceError: it cannot be reached or used. MissingDependencyError: there is no ssh here.
    """

    def __init__(self, name: DeviceName, label: str | None = None, python: str | None = None) -> None:
        link = Link((*arguments(name), remote_command(python)), lambda *ended: explain(name, *ended), C_LOCALE)
        try:
            super().__init__(label or name.text, link)
        except FileNotFoundError as error:
            raise MissingDependencyError(
                "this needs the program 'ssh', which is not there; install it (Debian: openssh-client)"
            ) from error


def arguments(name: DeviceName) -> list[str]:
    """Return the call of ssh, up to the host. No part of a name can be taken for an option: see ``names``."""
    assert name.host is not None
    port = [] if name.port is None else ["-p", str(name.port)]
    user = [] if name.user is None else ["-l", name.user]
    return ["ssh", *OPTIONS, *port, *user, "--", name.host]


def remote_command(python: str | None = None) -> str:
    """Return what the login shell there is told, whichever it is: start the first Python that is there.

    The text is ours but for ``python``, which is of a plain alphabet.

    Raises:
        OptionError: it is not.
    """
    if python is not None and not PYTHON.fullmatch(python):
        raise OptionError(
            expected="python as a path in letters, digits, '_', '.', '+', '-' and '/'", found=f"'{python[:80]}'"
        )
    find = OURS if python is None else f'p=$(command -v "{python}") || exit 127'
    return f'exec sh -c \'{find}; cd / && exec "$p" -c "{START}"\''
