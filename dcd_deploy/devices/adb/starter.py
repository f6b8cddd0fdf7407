"""A runner in its workplace on a phone: started once for each block, ended with it, and its words parsed."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath

from dcd_deploy.devices.adb.phone import Phone
from dcd_deploy.devices.adb.runner import Effort, Output, Runner, Start
from dcd_deploy.devices.adb.texts import first_lines, last_lines
from dcd_deploy.errors import BenchError, DeviceAnswerError

MOST_RESULTS = 8_000_000  # bytes of a runner's file of results
# Its process is known, so that it can be ended; when the connection breaks, Android hangs up on this shell, which does.
STARTED = "trap 'kill -9 $p 2>/dev/null' HUP TERM; {words} 2>&1 & p=$!; echo $p >pid; wait $p"


@dataclass
class Starter:
    """What is to be started, where, and on which cores; ``sample`` is what its samples are, once it was started."""

    phone: Phone
    kind: Runner
    program: PurePosixPath
    place: PurePosixPath
    cpus: Collection[int] | None
    sample: str = ""

    def start(self, model: PurePosixPath, effort: Effort) -> Start:
        """Start the runner once, and return what it found.

        Raises:
            BenchError: it did not end well, or not in time.
            DeviceAnswerError: what it said cannot be read.
            DeviceLostError: the connection was lost.
        """
        pinned = [] if self.cpus is None else ["taskset", f"{sum(1 << cpu for cpu in self.cpus):x}"]
        words = shlex.join([*pinned, str(self.program), *self.kind.words(model, effort)])
        results = self.kind.results
        clear = f"rm -f {results}" if results else "true"
        line = f"cd {self.place} && {clear} && {{ {STARTED.format(words=words)}; }}"
        said = self.phone.script(line, seconds=effort.most_seconds)
        if said.code:
            raise BenchError(
                expected=f"{self.kind.name} to end well on the phone",
                found=f"exit code {said.code}",
                advice=f"its last words: {last_lines(said.out)}",
            )
        written = self.phone.read(self.place / results, MOST_RESULTS) if results else ""
        return self._parsed(Output(said.out, written), effort)

    def _parsed(self, output: Output, effort: Effort) -> Start:
        try:
            start = self.kind.parse(output, effort)
        except (ValueError, KeyError) as error:
            raise DeviceAnswerError(
                expected=f"the times that {self.kind.name} prints",
                found=error,
                advice=f"the first lines of what it said: {first_lines(output.said)}",
            ) from error
        self.sample = self.kind.sample(output)
        return start
