"""One phone: commands in its shell, files sent to it by their content, and nothing left there that was not asked for.

    /data/local/tmp/dcd-deploy/
        files/SHA256.SUFFIX     kept, so that nothing is sent twice
        run-TOKEN/              of one measurement; goes with it

A command goes through the phone's shell, so it is put together from words that this program made itself, each quoted.
The shell then prints a token of ours and the exit code; where the token is missing the connection broke, whatever adb
itself says of it. ``Noticing`` keeps that anything went wrong, however it was dealt with.

Two processes at a time would remove each other's files there, and spoil each other's times: one holds the phone, by a
lock on a file of this machine, to which it is plugged. The system lets go of that however its holder ends.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shlex
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from dcd_deploy.devices.adb.client import Adb, last_lines
from dcd_deploy.devices.adb.program import Said
from dcd_deploy.errors import BenchError, DeviceAnswerError, DeviceError, DeviceLackError, DeviceLostError
from dcd_deploy.files import existing_file, sha256, suffix_of
from dcd_deploy.made_once import cache_folder

IN_THE_SHELL = "measured in the phone's shell, where Android schedules a program differently than an app in front"


class Noticing:
    """Remembers that a block ended in an error."""

    def __init__(self) -> None:
        self.failed = False

    @contextmanager
    def within(self) -> Iterator[None]:
        """Notice what goes wrong within."""
        try:
            yield
        except BaseException:
            self.failed = True
            raise


try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class Hold:
    """The lock of the phone of this ``serial``, not yet taken."""

    def __init__(self, serial: str) -> None:
        self.serial = serial
        self._end: weakref.finalize[[int], Hold] | None = None

    def take(self) -> None:
        """Take it, unless it is taken by this object; where no lock can be written it goes without.

        Raises:
            DeviceError: another one has it.
        """
        if self._end is not None or fcntl is None:
            return
        place = cache_folder("phones") / f"{hashlib.sha256(self.serial.encode()).hexdigest()[:16]}.lock"
        with suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._end = weakref.finalize(self, os.close, file)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                self.release()
                raise _busy(self.serial) from error

    def release(self) -> None:
        """Let go of it."""
        if self._end is not None:
            self._end()
            self._end = None


def _busy(serial: str) -> DeviceError:
    return DeviceError(
        expected=f"the phone '{serial}' to be free",
        found="another dcd-deploy at work on it",
        advice="start again when it is done",
    )


FOLDER = PurePosixPath("/data/local/tmp/dcd-deploy")
FILES = FOLDER / "files"
SOON = 30.0
SENDS_PER_SECOND = 500_000  # bytes; a link that is slower than that is taken for broken
NO_SPACE = "No space left on device"
SUFFIX = re.compile(r"(\.[a-z0-9]{1,12})?")


class Phone:
    """The phone of this serial, as ``chosen`` returned it."""

    def __init__(self, adb: Adb, serial: str) -> None:
        self.adb = adb
        self.serial = serial
        self.sent: set[PurePosixPath] = set()  # by this object
        self.hold = Hold(serial)

    def shell(self, *words: str, seconds: float = SOON) -> Said:
        """Run one command of these words, each quoted; see ``script``."""
        return self.script(shlex.join(words), seconds=seconds)

    def script(self, text: str, *, seconds: float = SOON, tidying: bool = False) -> Said:
        """Run ``text``, which holds nothing that came from elsewhere, in the phone's shell.

        What is ``tidying`` up is done also after a stop.

        Raises:
            BenchError: it was not done within ``seconds``, and was hung up on.
            DeviceLostError: the connection was lost.
        """
        token = secrets.token_hex(8)
        line = f"{{ {text}\n}}; echo {token}:$?"
        said = self.adb.run("-s", self.serial, "shell", line, seconds=seconds, tidying=tidying)
        if said.cut == "time":
            raise BenchError(
                expected=f"the phone '{self.serial}' to be done in time",
                but="it is not",
                advice="give it more with `time_limit`, or look for what it hangs on",
            )
        found = re.fullmatch(rf"(.*?)\r?\n?{token}:(\d{{1,3}})\s*", said.out, re.DOTALL)
        if found is None:
            raise DeviceLostError(
                f"the connection to the phone '{self.serial}' was lost, or its shell ended: "
                f"{last_lines(said.err or said.out)}"
            )
        return Said(int(found[2]), found[1], said.err)

    def done(self, *words: str, seconds: float = SOON) -> str:
        """Run a command that has to succeed, and return what it printed."""
        said = self.shell(*words, seconds=seconds)
        if said.code:
            raise DeviceError(
                expected=f"'{words[0]}' to succeed on the phone '{self.serial}'",
                found=f"exit code {said.code}: {last_lines(said.err or said.out)}",
            )
        return said.out

    def send(self, path: Path, *, executable: bool = False) -> PurePosixPath:
        """Bring a file to the phone, unless it is there, and return its place.

        Raises:
            InputFileError: there is no such file here.
            DeviceLackError: there is no space on the phone.
            DeviceAnswerError: the file did not arrive as it is.
        """
        digest = sha256(existing_file(path, "a file to send to the phone"))
        suffix = suffix_of(path) if SUFFIX.fullmatch(suffix_of(path)) else ""
        target = FILES / f"{digest}{suffix}"
        if not self._is_there(target, digest):
            self._push(path, target, digest)
        if executable:
            self.done("chmod", "700", str(target))
        return target

    def remove(self, *places: PurePosixPath) -> None:
        """Remove what this program put there; a phone that is gone is no reason to fail."""
        assert all(FOLDER in (place, *place.parents) and ".." not in place.parts for place in places)
        if places:
            with suppress(DeviceError, BenchError):
                self.script(shlex.join(["rm", "-rf", *map(str, places)]), tidying=True)

    def take_back(self) -> None:
        """Remove what this object sent."""
        self.remove(*self.sent)
        with suppress(DeviceError, BenchError):
            self.script(f"rmdir {FILES} {FOLDER}", tidying=True)  # where they are empty
        self.sent.clear()

    @contextmanager
    def workplace(self) -> Iterator[PurePosixPath]:
        """Yield a new folder on the phone that is gone afterwards, and with it what lost connections left there."""
        place = FOLDER / f"run-{secrets.token_hex(8)}"
        self.script(f"rm -rf {FOLDER}/run-* {FILES}/*.part")
        self.done("mkdir", "-p", str(place))
        try:
            yield place
        finally:
            self._end(place)

    def _end(self, place: PurePosixPath) -> None:
        """End what was started in a workplace, if it still runs, and remove the place; the phone may be gone."""
        end = f"[ -f {place}/pid ] && kill -9 $(cat {place}/pid) 2>/dev/null"
        with suppress(DeviceError, BenchError):
            self.script(f"{end}; rm -rf {place}", tidying=True)

    def read(self, place: PurePosixPath, most_bytes: int) -> str:
        """Return the beginning of a text file on the phone."""
        return self.done("head", "-c", str(most_bytes), str(place))

    def _is_there(self, target: PurePosixPath, digest: str) -> bool:
        said = self.shell("sha256sum", str(target), seconds=4 * SOON)
        return said.code == 0 and said.out.split()[:1] == [digest]

    def _push(self, path: Path, target: PurePosixPath, digest: str) -> None:
        """Send under another name first: what bears the name of its content has all of it."""
        part = target.with_name(f"{target.name}.part")
        self.done("mkdir", "-p", str(FILES))
        self.sent.add(target)
        try:
            self._push_part(path, part)
            self.done("mv", str(part), str(target))
            self._check_arrived(path, target, digest)
        except BaseException:
            self.remove(part, target)
            raise

    def _push_part(self, path: Path, part: PurePosixPath) -> None:
        size = path.stat().st_size
        self._check_space(size)
        seconds = SOON + size / SENDS_PER_SECOND
        said = self.adb.run("-s", self.serial, "push", str(path.absolute()), str(part), seconds=seconds)
        if said.code or said.cut:
            raise self._not_sent(path.name, size, said)

    def _check_arrived(self, path: Path, target: PurePosixPath, digest: str) -> None:
        if not self._is_there(target, digest):
            raise DeviceAnswerError(
                expected=f"'{path.name}' on the phone '{self.serial}' as it was sent",
                found="another content there",
                advice="its storage may be failing",
            )

    def free_bytes(self) -> int | None:
        """Return the space where files go, or None where the phone does not tell."""
        said = self.shell("df", "-k", str(FOLDER.parent))
        numbers = said.out.splitlines()[-1].split()[1:4] if said.code == 0 and said.out.strip() else []
        return int(numbers[2]) * 1024 if len(numbers) == 3 and all(map(str.isdigit, numbers)) else None

    def _check_space(self, size: int) -> None:
        free = self.free_bytes()
        if free is not None and free < size:
            raise DeviceLackError(
                expected=f"{size / 1e6:.1f} MB of space in {FOLDER.parent} on the phone '{self.serial}'",
                found=f"{free / 1e6:.1f} MB",
                advice="make room",
            )

    def _not_sent(self, name: str, size: int, said: Said) -> DeviceError:
        text = f"expected to send '{name}' ({size / 1e6:.1f} MB) to the phone '{self.serial}', but"
        if NO_SPACE in said.out + said.err:
            return DeviceLackError(f"{text} there is no space left on it; make room")
        if said.cut == "time":
            return DeviceLostError(f"{text} it takes too long; check the cable")
        return DeviceLostError(f"{text}: {last_lines(said.err or said.out)}")
