"""A phone as adb sees it: its services on 127.0.0.1, its commands run here in a folder.

Services are ``shell``, ``shell,v2`` and ``sync`` (STAT, SEND, RECV, LIST). The phone's folders (/data, /proc, /sys) are
those of the same name in ``root``; its shell is mksh and its tools are toybox, as on Android. There is no
authentication beyond refusing it, and no USB.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from adb_transport import GoneError, Stream, Wire

BANNER = b"device::ro.product.name=%s;ro.product.model=%s;ro.product.device=%s;features=shell_v2,cmd"
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = 0, 1, 2, 3, 3
SHELL = shutil.which("mksh") or "mksh"
TOOLS = (
    "cat chmod cp cut df echo env find grep gunzip head id kill ls mkdir mv nproc printf ps pwd readlink rm rmdir sed "
    "sha256sum sleep sort stat tail tar taskset test timeout touch tr true uname wc"
)


class PhoneSide:
    """A phone whose storage is the folder ``root``; ``room`` is how many bytes fit onto it.

    ``state`` is what adb is to see: device, unauthorized or offline. ``dies_at`` is a pattern: the connection breaks
    once a command, what it is told or what it says has matched it; ``dies_after`` so many bytes that are pushed.
    """

    def __init__(self, root: Path, model: str = "Test Phone", state: str = "device") -> None:
        self.root, self.state = root, state
        name = model.replace(" ", "_").encode()
        self.banner = BANNER % (name, name, name)
        self.room: int | None = None
        self.dies_at: str | None = None
        self.dies_after: int | None = None
        self.commands: list[str] = []
        self.environment: dict[str, str] = {}
        self.emulator: list[str] = []  # what runs aarch64 programs here
        self.received = 0  # bytes that were pushed
        self.server = socket.create_server(("127.0.0.1", 0))
        self.wires: list[Wire] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.server.getsockname()[1]}"

    def stop(self) -> None:
        """Stop listening, and break every connection."""
        with suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        self.unplug()

    def unplug(self) -> None:
        """Break every connection, as a pulled cable does."""
        for wire in self.wires:
            with suppress(OSError):
                wire.connection.shutdown(socket.SHUT_RDWR)
        self.wires.clear()

    def service(self, name: str) -> Callable[[Stream], None] | None:
        head, _, command = name.partition(":")
        kind, *options = head.split(",")
        if kind == "sync":
            return self._sync
        if kind == "shell":
            return lambda stream: self._shell(stream, command, v2="v2" in options)
        return None

    def here(self, text: str) -> str:
        """Return a text that speaks of the phone's folders with those that stand for them here."""
        text = re.sub(r"(?<![\w.])/(?=(data|proc|sys)/)", f"{self.root}/", text)
        return re.sub(r"exec (?=\S*/ld-linux-aarch64)", f"exec {shlex.join(self.emulator)} ", text)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.server.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                wire = Wire(self, connection)
                self.wires.append(wire)
                threading.Thread(target=wire.serve, daemon=True).start()

    def _shell(self, stream: Stream, text: str, *, v2: bool) -> None:
        self.commands.append(text)
        self.maybe_die(text.encode())
        Command(self, stream, text, v2=v2).run()

    def maybe_die(self, said: bytes) -> None:
        if self.dies_at is not None and re.search(self.dies_at.encode(), said):
            self.dies_at = None
            self.unplug()
            raise GoneError

    def _sync(self, stream: Stream) -> None:
        while True:
            kind, length = struct.unpack("<4sI", stream.read(8))
            if kind == b"QUIT":
                return
            name = stream.read(length).decode()
            {b"STAT": self._stat, b"SEND": self._receive, b"RECV": self._send, b"LIST": self._list}[kind](stream, name)

    def _stat(self, stream: Stream, name: str) -> None:
        found = (0, 0, 0)
        with suppress(OSError):
            status = Path(self.here(name)).stat()
            found = (status.st_mode, status.st_size & 0xFFFFFFFF, int(status.st_mtime))
        stream.write(struct.pack("<4s3I", b"STAT", *found))

    def _receive(self, stream: Stream, name: str) -> None:
        """Take a file that is pushed; read all of it even where it cannot be kept, as adbd does."""
        path, _, mode = name.rpartition(",")
        target, problem, size = Path(self.here(path)), None, 0
        try:
            file = target.open("wb")
        except OSError as error:
            file, problem = Path(os.devnull).open("wb"), error.strerror  # noqa: SIM115 - closed below
        with file:
            while True:
                kind, length = struct.unpack("<4sI", stream.read(8))
                if kind == b"DONE":
                    break
                content = stream.read(length)
                size += length
                self.received += length
                if self.dies_after is not None and self.received > self.dies_after:
                    self.unplug()
                    raise GoneError
                if self.room is not None and size > self.room:
                    problem = problem or "No space left on device"
                else:
                    file.write(content)
        if problem:
            stream.write(b"FAIL" + struct.pack("<I", len(problem)) + problem.encode())
        else:
            target.chmod(int(mode, 0) & 0o777)
            stream.write(b"OKAY" + struct.pack("<I", 0))

    def _send(self, stream: Stream, name: str) -> None:
        try:
            content = Path(self.here(name)).read_bytes()
        except OSError as error:
            problem = (error.strerror or "failed").encode()
            stream.write(b"FAIL" + struct.pack("<I", len(problem)) + problem)
            return
        for start in range(0, len(content), 65536):
            piece = content[start : start + 65536]
            stream.write(b"DATA" + struct.pack("<I", len(piece)) + piece)
        stream.write(b"DONE" + struct.pack("<I", 0))

    def _list(self, stream: Stream, name: str) -> None:
        for path in Path(self.here(name)).iterdir():
            status, name_bytes = path.lstat(), path.name.encode()
            facts = (status.st_mode, status.st_size & 0xFFFFFFFF, int(status.st_mtime), len(name_bytes))
            stream.write(struct.pack("<4s4I", b"DENT", *facts) + name_bytes)
        stream.write(b"DONE" + bytes(16))


class Command:
    """One command in the phone's shell: what it says goes out, and when the other side goes it is hung up on."""

    def __init__(self, phone: PhoneSide, stream: Stream, text: str, *, v2: bool) -> None:
        self.phone, self.stream, self.v2 = phone, stream, v2
        self.lock = threading.Lock()
        self.process = subprocess.Popen(
            [SHELL, "-c", phone.here(text)],
            stdin=subprocess.PIPE if v2 else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if v2 else subprocess.STDOUT,
            env={"PATH": f"{phone.root}/bin", "HOME": f"{phone.root}/data/local/tmp", **phone.environment},
            cwd=phone.root,
            start_new_session=True,
        )

    def run(self) -> None:
        pipes = [(self.process.stdout, STDOUT)] + ([(self.process.stderr, STDERR)] if self.v2 else [])
        threads = [threading.Thread(target=self._pump, args=pipe, daemon=True) for pipe in pipes]
        threading.Thread(target=self._feed, daemon=True).start()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        code = self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        if self.v2:
            self._say(EXIT, bytes([code if code >= 0 else 128 - code]))

    def _say(self, kind: int, content: bytes) -> None:
        with self.lock:
            self.stream.write(bytes([kind]) + struct.pack("<I", len(content)) + content if self.v2 else content)

    def _pump(self, pipe, kind: int) -> None:
        with suppress(GoneError, OSError):
            while piece := os.read(pipe.fileno(), 1 << 20):  # all there is, so that no path is cut in two
                self._say(kind, piece.replace(str(self.phone.root).encode(), b""))
                self.phone.maybe_die(piece)

    def _feed(self) -> None:
        with suppress(GoneError, OSError, ValueError):  # the shell may have ended, and closed its input
            while True:
                kind, length = struct.unpack("<BI", self.stream.read(5))
                content = self.stream.read(length)
                self.phone.maybe_die(content)
                if kind == STDIN:
                    self.process.stdin.write(content)
                    self.process.stdin.flush()
                elif kind == CLOSE_STDIN:
                    self.process.stdin.close()
        if self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGHUP)
