"""The device's side of adb's transport: messages, and the streams in them.

message:   command, two arguments, length, sum of the bytes, command ^ 0xffffffff      (six little-endian words)
CNXN → CNXN    OPEN service → OKAY    WRTE ↔ OKAY    CLSE
"""

from __future__ import annotations

import queue
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress

VERSION, MOST = 0x01000000, 65536  # the version of the transport in which every message has its sum
TOKEN = 1


class GoneError(Exception):
    """The other side has closed."""


class Stream:
    """One open service: bytes in, bytes out, each piece acknowledged."""

    def __init__(self, wire: Wire, number: int, other: int) -> None:
        self.wire, self.number, self.other = wire, number, other
        self.incoming: queue.Queue[bytes | None] = queue.Queue()
        self.acknowledged = threading.Semaphore(0)
        self.closed = threading.Event()
        self.rest = b""

    def write(self, content: bytes) -> None:
        for start in range(0, len(content), 16384):
            self.wire.send(b"WRTE", self.number, self.other, content[start : start + 16384])
            self.acknowledged.acquire()
            if self.closed.is_set():
                raise GoneError

    def read(self, count: int) -> bytes:
        while len(self.rest) < count:
            piece = self.incoming.get()
            if piece is None:
                raise GoneError
            self.rest += piece
        found, self.rest = self.rest[:count], self.rest[count:]
        return found

    def close(self) -> None:
        if not self.closed.is_set():
            self.closed.set()
            with suppress(OSError):
                self.wire.send(b"CLSE", self.number, self.other)

    def other_closed(self) -> None:
        self.close()
        self.incoming.put(None)
        self.acknowledged.release()


class Wire:
    """One connection of an adb server: messages, and the streams in it."""

    def __init__(self, phone, connection: socket.socket) -> None:
        self.phone, self.connection = phone, connection
        self.lock = threading.Lock()
        self.streams: dict[int, Stream] = {}

    def send(self, command: bytes, one: int, two: int, content: bytes = b"") -> None:
        (word,) = struct.unpack("<I", command)
        head = struct.pack("<6I", word, one, two, len(content), sum(content) & 0xFFFFFFFF, word ^ 0xFFFFFFFF)
        with self.lock:
            self.connection.sendall(head + content)

    def serve(self) -> None:
        try:
            while True:
                word, one, two, length, _, _ = struct.unpack("<6I", self._exactly(24))
                self._answer(struct.pack("<I", word), one, two, self._exactly(length))
        except (GoneError, OSError):
            pass
        finally:
            for stream in list(self.streams.values()):
                stream.closed.set()
                stream.other_closed()
            self.connection.close()

    def _answer(self, command: bytes, one: int, two: int, content: bytes) -> None:
        if command in {b"CNXN", b"AUTH"}:
            if self.phone.state == "device":
                self.send(b"CNXN", VERSION, MOST, self.phone.banner)
            elif self.phone.state == "unauthorized":
                self.send(b"AUTH", TOKEN, 0, bytes(20))
        elif command == b"OPEN":
            self._open(one, content.rstrip(b"\0").decode())
        elif two in self.streams:
            stream = self.streams[two]
            if command == b"WRTE":
                stream.incoming.put(content)
                self.send(b"OKAY", two, one)
            elif command == b"OKAY":
                stream.acknowledged.release()
            elif command == b"CLSE":
                stream.other_closed()

    def _open(self, other: int, name: str) -> None:
        service = self.phone.service(name)
        if service is None:
            self.send(b"CLSE", 0, other)
            return
        stream = Stream(self, len(self.streams) + 1, other)
        self.streams[stream.number] = stream
        self.send(b"OKAY", stream.number, other)
        threading.Thread(target=self._run, args=(service, stream), daemon=True).start()

    def _run(self, service: Callable[[Stream], None], stream: Stream) -> None:
        with suppress(GoneError, OSError):
            service(stream)
        stream.close()

    def _exactly(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            piece = self.connection.recv(count - len(found))
            if not piece:
                raise GoneError
            found += piece
        return found
