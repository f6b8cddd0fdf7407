"""A board over ssh: the system's own client, with the user's configuration, keys, agent and known hosts.

One ssh process is one connection and carries everything: the runner, the models, requests and answers. When it ends,
for whatever reason, the runner there sees the end of its input, ends the trial that it was at, and itself.
"""

from __future__ import annotations

import re

from dcd_deploy.devices.boot import FOLDER, START
from dcd_deploy.devices.names import DeviceName
from dcd_deploy.devices.remote import RemoteDevice
from dcd_deploy.devices.session import Link
from dcd_deploy.devices.ssh_failures import explain
from dcd_deploy.errors import MissingDependencyError, OptionError

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
PYTHON = re.compile(r"[A-Za-z0-9_/][A-Za-z0-9_./+-]*")
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
