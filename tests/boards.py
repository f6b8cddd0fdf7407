"""A board for the tests: a real sshd on 127.0.0.1, with throwaway keys, a home of its own and a Python of our choice.

It logs in whoever runs the tests; where that is root, the commands there give up root's rights, if a Python can be
reached without them. The client is the system's ssh, with a configuration of the test's own.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
NOBODY = 65534
DROP = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
FAST = {"min_runs": 8, "min_seconds": 0.0, "rounds": 1, "memory": False}
ENDLESS = FAST | {"min_seconds": 120.0}
IMPORTS = "import numpy, onnxruntime, ai_edge_litert"
SSHD_CONFIG = """
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
PidFile none
AuthorizedKeysFile {folder}/client.pub
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PermitUserEnvironment no
MaxStartups 100
ForceCommand {folder}/shell
"""
SSH_CONFIG = """
Host *
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {folder}/known
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking ask
"""
# Of two values that fit ssh takes the first.
HOSTS = """
Host refused
  IdentityFile {folder}/stranger
Host changed
  HostKeyAlias changed
Host unknown
  HostKeyAlias unknown
Host nowhere
  HostName nowhere.invalid
Host deaf
  Port {deaf}
Host slow
  ProxyCommand sleep 60
Host * !refused
  IdentityFile {folder}/client
"""


def python_without_rights() -> tuple[list[str], dict[str, str]]:
    """Return how to start a Python with the runtimes, as nobody if we are root, and the variables that it needs."""
    packages = {"PYTHONPATH": sysconfig.get_paths()["purelib"]}
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if os.geteuid() == 0:
        for python in (sys.executable, f"/usr/bin/{version}"):
            command = [*DROP, python]
            tried = subprocess.run([*command, "-c", IMPORTS], env=packages, capture_output=True, check=False, cwd="/")
            if tried.returncode == 0:
                return command, packages
    return [sys.executable], packages


def emulated_python(core: str) -> str:
    """Return the script of an aarch64 Python with the aarch64 runtimes, on an emulated core, with our rights."""
    from dcd_deploy.emulation.cores import core_named
    from dcd_deploy.emulation.programs import QEMU
    from dcd_deploy.emulation.root import installed_root

    root, chosen = installed_root(), core_named(core)
    variables = f"PYTHONHOME={root.system / 'usr'} PYTHONPATH={root.wheels} OMP_NUM_THREADS=1"
    emulator = [shutil.which(QEMU), "-cpu", chosen.qemu, "-L", str(root.for_core(chosen))]
    return f'export {variables}\nexec {shlex.join([*emulator, str(root.interpreter)])} "$@"'


class Board:
    """The running sshd; ``bin`` is all that a command there finds, ``home`` where it may write."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dcd-board-"))
        self.folder.chmod(0o755)
        self.bin, self.home = self.folder / "bin", self.folder / "home"
        self.port, self.deaf = free_port(), free_port()
        self.cache = self.home / ".cache" / "dcd-deploy-device"
        self.reset()
        self._keys()
        self._client()
        names = {"folder": self.folder, "port": self.port, "deaf": self.deaf, "user": getpass.getuser()}
        self._write("sshd_config", SSHD_CONFIG.format(**names))
        self._write("ssh_config", HOSTS.format(**names) + SSH_CONFIG.format(**names))
        self.start()

    @property
    def name(self) -> str:
        """What a user calls it."""
        return "ssh://board"

    @property
    def path(self) -> str:
        """The PATH with which ssh is the system's, with this board's configuration."""
        return f"{self.folder}/client-bin{os.pathsep}{os.environ['PATH']}"

    def start(self) -> None:
        """Start sshd, and wait until it listens."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        command = [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("sshd does not listen")

    def reset(self, shell: str = 'exec sh -c "$SSH_ORIGINAL_COMMAND"', python: str | None = None) -> None:
        """Give it an empty home, a Python, and what becomes of the commands that come in."""
        for place in (self.home, self.bin):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
        (self.bin / "sh").symlink_to("/bin/sh")
        command, variables = python_without_rights()
        if command[0] == DROP[0]:
            os.chown(self.home, NOBODY, NOBODY)
            command = [shutil.which(command[0]), *command[1:]]
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
        if python is None:
            self.script("python3", f'{exports}exec {shlex.join(command)} "$@"')
        elif python:
            self.script("python3", python)
        self.reset_shell(shell)

    def reset_shell(self, shell: str) -> None:
        """Say what becomes of the commands that come in."""
        self._write("shell", f"#!/bin/sh\nexport HOME={self.home} PATH={self.bin}\n{shell}\n", 0o755)

    def script(self, name: str, text: str) -> None:
        """Put a command there."""
        self._write(f"bin/{name}", f"#!/bin/sh\n{text}\n", 0o755)

    def left(self) -> list[str]:
        """Return the names of all files in its home, the environment's left out."""
        return sorted(p.name for p in self.home.rglob("*") if p.is_file() and "venv" not in p.parts)

    def stop(self) -> None:
        """End sshd, and remove all."""
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _keys(self) -> None:
        for name in ("host", "client", "stranger", "other"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(self.folder / name)]
            subprocess.run(command, check=True)
        host, other = ((self.folder / f"{name}.pub").read_text() for name in ("host", "other"))
        self._write("known", f"[127.0.0.1]:{self.port} {host}changed {other}")

    def _client(self) -> None:
        (self.folder / "client-bin").mkdir()
        real = shutil.which("ssh")
        self._write("client-bin/ssh", f'#!/bin/sh\nexec {real} -F {self.folder}/ssh_config "$@"\n', 0o755)

    def _write(self, name: str, text: str, mode: int = 0o644) -> None:
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def runners(board: Board) -> list[int]:
    """The processes on the board, told by the home that they have."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"HOME={board.home}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def wait_for(condition, seconds=20):
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    return condition()


def cut(board: Board, how: int = signal.SIGKILL) -> list[int]:
    """Kill what serves the connections of the board, as a cable that is pulled."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            if int((process / "stat").read_text().rpartition(")")[2].split()[1]) == board.process.pid:
                os.kill(int(process.name), how)
                found.append(int(process.name))
    return found
