"""What the kernel's files say of this machine."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def read_text(path: str | Path) -> str:
    """Return what one of the kernel's files says, or nothing where there is no such file."""
    with suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace").strip("\0 \t\r\n")
    return ""
