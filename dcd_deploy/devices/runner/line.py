"""The line to whoever sent us: JSON, one message a line, on the two standard streams, with files between the lines.

What anything else prints goes to standard error, so that a line is a message or none of ours.
"""

from __future__ import annotations

import json
import os
from typing import Any

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
