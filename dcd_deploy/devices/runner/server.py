"""The device's side of the line: it does what it is told, one thing after the other, until the line ends.

    {"do": "survey"}                                → what the device is
    {"do": "have", "names": […]}                    → which of them are here
    {"do": "put", "name": …, "bytes": n}            → "ready", then n bytes come → kept
    {"do": "ask", "request": {…}, "time_limit": s}  → the worker's answer, or how it ended
    {"do": "setup", "packages": […], "time_limit": s}, {"do": "clean"}

It is JSON, one message a line, on the two standard streams, with files between the lines. What anything else prints
goes to standard error, so that a line is a message or none of ours.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dcd_deploy.benchmarks.environment import read_environment
from dcd_deploy.benchmarks.machine import core_kinds
from dcd_deploy.devices.runner.cache import FileCache
from dcd_deploy.devices.runner.installing import install
from dcd_deploy.devices.runner.trial import run_trial

MARK = "dcd-deploy-device: "
BLOCK = 1 << 16


class Line:
    """Both directions; nothing is read that was not asked for."""

    def __init__(self) -> None:
        self._answers = os.dup(1)
        os.dup2(2, 1)
        self._kept = b""

    def say(self, message: dict[str, Any]) -> None:
        """Send one message."""
        content = f"{MARK}{json.dumps(message)}\n".encode()
        while content:
            content = content[os.write(self._answers, content) :]

    def hear(self) -> dict[str, Any] | None:
        """Return the next message, or None when the other side is gone."""
        while b"\n" not in self._kept:
            block = os.read(0, BLOCK)
            if not block:
                return None
            self._kept += block
        text, _, self._kept = self._kept.partition(b"\n")
        message: dict[str, Any] = json.loads(text)
        return message

    def read(self, most: int) -> bytes:
        """Return some of the bytes that follow a message, or none when the other side is gone."""
        if self._kept:
            block, self._kept = self._kept[:most], self._kept[most:]
            return block
        return os.read(0, most)


def survey(cache: FileCache) -> dict[str, Any]:
    """Return the environment, the cores by kind, the space for files in MB, and the C library, as JSON has it."""
    return {
        "environment": asdict(read_environment()),
        "cores": [asdict(kind) for kind in core_kinds()],
        "free_mb": cache.free() // 10**6,
        "library": " ".join(platform.libc_ver()).strip(),
    }


Message = dict[str, Any]


def main(folder: str) -> None:
    """Serve the line that the standard streams are; ``folder`` keeps what is sent."""
    server = Server(FileCache(Path(folder)), Line())
    server.cache.tidy()
    server.line.say({"ready": True})
    while (message := server.line.hear()) is not None:
        try:
            answer = server.actions[message["do"]](message)
        except EOFError:
            return
        except Exception as error:  # noqa: BLE001 - whatever it was, the other side says it
            answer = {"fault": f"{type(error).__name__}: {error}"[:500]}
        if answer is None:
            return
        server.line.say(answer)


class Server:
    """What can be asked for; each action returns the answer, or None when the other side is gone."""

    def __init__(self, cache: FileCache, line: Line) -> None:
        self.cache = cache
        self.line = line
        self.actions: dict[str, Callable[[Message], Message | None]] = {
            "survey": lambda _: {"survey": survey(self.cache)},
            "have": lambda message: {"have": [name for name in message["names"] if self.cache.has(name)]},
            "put": self.put,
            "ask": self.ask,
            "setup": lambda m: {"setup": install(self.cache.folder, m["packages"], m["time_limit"])},
            "clean": self.clean,
        }

    def put(self, message: Message) -> Message:
        """Take a file, if there is room for it."""
        free = self.cache.free()
        if message["bytes"] > free:
            return {"full": free}
        self.line.say({"ready": True})
        try:
            self.cache.put(message["name"], message["bytes"], self.line.read)
        except OSError as error:
            return {"fault": str(error.strerror or error)}
        return {"kept": True}

    def ask(self, message: Message) -> Message | None:
        """Let the worker measure; the models' names are those of the cache."""
        request = dict(message["request"])
        request["models"] = {who: str(self.cache.path(name)) for who, name in request["models"].items()}
        return run_trial(request, message["time_limit"])

    def clean(self, _: Message) -> Message:
        """Remove all that was ever kept."""
        self.cache.remove()
        return {"clean": True}
