"""The line to our runner on a device: started, asked, and given up when it breaks.

    command starts Python  →  our first line  →  the runner, sent if it is not there  →  messages both ways

Who makes one gives the command, and says what it means that it fails.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dcd_deploy.devices.answers import misread, parse
from dcd_deploy.devices.bundle import first_line, runner_bundle
from dcd_deploy.devices.channel import Channel, ChannelEndedError, ChannelFloodError, ChannelLateError
from dcd_deploy.devices.packages import not_started
from dcd_deploy.devices.runner.server import MARK
from dcd_deploy.errors import DeviceError, DeviceLostError

CONNECT_SECONDS, ANSWER_SECONDS, SEND_SECONDS = 60.0, 60.0, 120.0
MOST_NOISE = 200  # lines that a login may print
WORDS = 200  # characters of what the command said last
Message = dict[str, Any]


@dataclass(frozen=True)
class Link:
    """How to start Python on a device: a command as a list of arguments, ending in what runs ``boot.START``.

    ``explain`` takes its exit code (None: it still runs) and what it said, and returns the error that this is;
    ``notes`` go into the environment of what is measured there ("measured in the phone's shell, …").
    """

    command: tuple[str, ...]
    explain: Callable[[int | None, str], DeviceError]
    environment: Mapping[str, str] | None = None
    connect_seconds: float = CONNECT_SECONDS
    notes: tuple[str, ...] = ()


class RunnerSession:
    """One line, which asks one thing at a time; after it broke every question is refused with the reason.

    Raises:
        DeviceError: the device cannot be reached, refuses us, is another one, or our runner does not run there.
    """

    def __init__(self, device: str, link: Link) -> None:
        self.device = device
        self.link = link
        self._asking = threading.Lock()
        self._broken = ""
        self._channel = self._connected()

    def told(self, message: Message, key: str, within: float = ANSWER_SECONDS) -> Any:
        """Return what the answer to ``message`` has under ``key``.

        Raises:
            DeviceError: as ``ask``, or the answer has nothing there.
        """
        said = self.ask(message, within)
        if key not in said:
            raise misread(self.device, said.get("fault", f"an answer without '{key}'"))
        return said[key]

    def ask(self, message: Message, within: float = ANSWER_SECONDS) -> Message:
        """Send a message and return the one that comes back ``within`` so many seconds.

        Raises:
            DeviceLostError: none does. DeviceAnswerError: it is none of ours.
        """
        return self._exchange(json.dumps(message).encode("ascii") + b"\n", within)

    def send(self, content: bytes) -> Message:
        """Send what an answer asked for, and return the message that comes back; errors as of ``ask``."""
        return self._exchange(content, ANSWER_SECONDS)

    def restart(self) -> None:
        """Start the runner anew, by the Python that is there now."""
        with self._asking:
            self._channel.close()
            self._channel.release()
            self._channel = self._connected()
            if self._broken:  # closed meanwhile, from another thread
                _end(self._channel)
                raise DeviceLostError(self._broken)

    def close(self) -> None:
        """End the line, and with it what runs at its other end. May be called from any thread, and twice."""
        self._broken = self._broken or f"{self.device} was let go of"
        self._channel.close()
        if self._asking.acquire(blocking=False):  # else the thread that waits for an answer sees the end, and releases
            self._channel.release()
            self._asking.release()

    def _exchange(self, content: bytes, within: float) -> Message:
        with self._asking:
            if self._broken:
                raise DeviceLostError(self._broken)
            try:
                self._channel.send(content, SEND_SECONDS)
                return self._message(self._channel, within)
            except (ChannelEndedError, ChannelLateError) as error:
                self._broken = self._broken or self._how_lost(error)
                raise DeviceLostError(self._broken) from error
            except DeviceError as error:
                self._broken = str(error)
                raise
            finally:
                if self._broken:
                    self._channel.close()
                    self._channel.release()

    def _connected(self) -> Channel:
        """Start the command, and the runner at its other end."""
        channel = Channel(self.link.command, self.link.environment)
        try:
            self._start_runner(channel)
        except (ChannelEndedError, ChannelLateError) as error:
            code = channel.exit_code() if isinstance(error, ChannelEndedError) else None
            words = channel.last_words()
            _end(channel)
            raise self.link.explain(code, words) from error
        except BaseException:
            _end(channel)
            raise
        return channel

    def _start_runner(self, channel: Channel) -> None:
        bundle = runner_bundle()
        channel.send(first_line(bundle), self.link.connect_seconds)
        said = self._message(channel, self.link.connect_seconds, noise=MOST_NOISE)
        if "send" in said:
            channel.send(bundle, SEND_SECONDS)
            said = self._message(channel, self.link.connect_seconds)
        if "ready" not in said:
            raise not_started(said, self.device)

    def _message(self, channel: Channel, within: float, *, noise: int = 0) -> Message:
        """Return the next message, before which a login may have printed so many lines of ``noise``, all ``within``."""
        until = time.monotonic() + within
        for _ in range(noise + 1):
            try:
                before, mark, text = channel.line(until - time.monotonic()).partition(MARK.encode("ascii"))
            except ChannelFloodError as error:
                raise misread(self.device, "a line without end") from error
            if mark and (noise or not before):  # a login's last line may lack its end
                try:
                    return parse(text)
                except ValueError as error:
                    raise misread(self.device, error) from error
        raise misread(self.device, f"{noise + 1} lines that are none of ours")

    def _how_lost(self, error: Exception) -> str:
        words = " ".join("".join(c if c.isprintable() else " " for c in self._channel.last_words()).split())[-WORDS:]
        how = "it does not answer" if isinstance(error, ChannelLateError) else "the connection was lost"
        said = f" ({words})" if words else ""
        return (
            f"expected an answer from {self.device}, but {how}{said}; see whether it is still there, and measure what "
            "is missing anew"
        )


def _end(channel: Channel) -> None:
    channel.close()
    channel.release()
