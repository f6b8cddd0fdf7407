"""A command whose two ends are a line to a device: texts line by line, bytes between them, and a time limit on each.

The command is a list of arguments (``ssh …``, ``adb shell …``, an emulator …), never a text for a shell here. What
comes back is limited in size; what the command says on standard error is kept for messages.
"""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

BLOCK = 1 << 16
LONGEST_LINE = 64 * 10**6  # bytes; a long trial's raw samples are a tenth of it
WORDS = 8000  # bytes of standard error
PATIENCE = 2.0  # seconds for a command to end by itself


class ChannelEndedError(Exception):
    """The command ended, or was ended, while it was needed."""


class ChannelLateError(Exception):
    """Nothing came, or nothing was taken, within the time limit."""


class ChannelFloodError(Exception):
    """A line is longer than any of ours could be."""


class Channel:
    """The running command. ``close`` may be called from another thread; whoever waits then gets ChannelEndedError.

    Raises:
        FileNotFoundError: there is no such program.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the channel
        self._kept = b""
        try:
            self._process = subprocess.Popen(  # noqa: S603 - a list of arguments made of parts with a plain alphabet
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                bufsize=0,
                start_new_session=True,  # a Ctrl-C is ours to handle
                env=None if environment is None else {**os.environ, **environment},
            )
        except BaseException:
            self._errors.close()
            raise
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        os.set_blocking(self._input.fileno(), False)

    def send(self, content: bytes, within: float) -> None:
        """Send bytes; ``within`` so many seconds each block of them has to be taken."""
        view = memoryview(content)
        while view:
            if not self._ready(write=True, until=time.monotonic() + within):
                raise ChannelLateError
            try:
                view = view[os.write(self._input.fileno(), view[:BLOCK]) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise ChannelEndedError from error

    def line(self, within: float) -> bytes:
        """Return the next line, without its end, which has to be there ``within`` so many seconds."""
        until, parts, size = time.monotonic() + within, [], 0
        while True:
            head, end, rest = self._kept.partition(b"\n")
            parts.append(head)
            size += len(head)
            if size > LONGEST_LINE:
                raise ChannelFloodError
            if end:
                self._kept = rest
                return b"".join(parts)
            self._kept = self._block(until)

    def last_words(self) -> str:
        """Return what the command said on standard error, so far, of that the end."""
        with suppress(OSError, ValueError):  # closed meanwhile
            size = os.fstat(self._errors.fileno()).st_size
            content = os.pread(self._errors.fileno(), WORDS, max(0, size - WORDS))
            return content.decode("utf-8", "replace")
        return ""

    def exit_code(self) -> int | None:
        """Return how the command ended, if it does so now."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(PATIENCE)
        return None

    def close(self) -> None:
        """End the command: kindly, by closing its input; then without asking."""
        with suppress(OSError):
            self._input.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()

    def release(self) -> None:
        """Let go of what is left of a closed channel, when nobody reads it any more."""
        self._output.close()
        self._errors.close()

    def _block(self, until: float) -> bytes:
        if not self._ready(write=False, until=until):
            raise ChannelLateError
        try:
            block = os.read(self._output.fileno(), BLOCK)
        except (OSError, ValueError) as error:
            raise ChannelEndedError from error
        if not block:
            raise ChannelEndedError
        return block

    def _ready(self, *, write: bool, until: float) -> bool:
        """Wait until the one stream takes or has something; False when it is too late."""
        try:
            found = select.select(
                [] if write else [self._output], [self._input] if write else [], [], max(0.0, until - time.monotonic())
            )
        except (OSError, ValueError) as error:  # closed meanwhile
            raise ChannelEndedError from error
        return any(found)
