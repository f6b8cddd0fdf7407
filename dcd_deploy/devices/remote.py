"""A device that runs our runner: over ssh, over adb, or emulated, whatever the command is that starts it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from dcd_deploy.benchmarks.environment import Environment
from dcd_deploy.benchmarks.machine import big_cores
from dcd_deploy.benchmarks.worker import Request, WorkerAnswer
from dcd_deploy.devices import packages
from dcd_deploy.devices.answers import Survey, misread, read_answer, read_error, read_survey
from dcd_deploy.devices.device import Device, DeviceFacts
from dcd_deploy.devices.session import ANSWER_SECONDS, Link, Message, RunnerSession
from dcd_deploy.errors import BenchError, DcdDeployError, DeviceLackError
from dcd_deploy.files import existing_file, sha256, suffix_of
from dcd_deploy.progress import Progress, silent
from dcd_deploy.runtimes.isolated import ending, last_lines

SETUP_SECONDS = 900.0  # for each package
SLACK = 30.0  # seconds beyond a trial's own limit, until we stop waiting for the device to say that it is over


class RemoteDevice(Device):
    """A device that is connected, until ``close``; ``name`` is what results call it.

    Raises:
        DeviceError: it cannot be reached or used.
    """

    name = ""

    def __init__(self, name: str, link: Link) -> None:
        self.name = name
        self._session = RunnerSession(name, link)
        self._sent: dict[Path, tuple[str, str]] = {}  # file → its hash, its name there
        self._survey: Survey | None = None

    def describe(self) -> DeviceFacts:
        """Return what it is."""
        found = self._surveyed(anew=True)
        return DeviceFacts(self.name, found.environment, found.cores, found.free_mb)

    def environment(self) -> Environment:
        """Return what it is at this moment."""
        return self._surveyed(anew=True).environment

    def cores(self) -> Sequence[int]:
        """Return the cores that a measurement there may use."""
        return sorted(cpu for kind in self._surveyed().cores for cpu in kind.cpus)

    def prepare(self, models: Sequence[Path], runtime: str, progress: Progress = silent) -> None:
        """Send the files that are not there; ``runtime`` has to be there.

        Raises:
            DeviceLackError: it has not the runtime, or no room.
        """
        packages.check(runtime, self._surveyed(), self.name)
        hashes = {path: sha256(existing_file(path, "a model file")) for path in models if path not in self._sent}
        names = {f"{digest}{suffix_of(path)}": path for path, digest in hashes.items()}
        have = self._session.told({"do": "have", "names": list(names)}, "have") if names else []
        for name, path in names.items():
            if not isinstance(have, list) or name not in have:
                with progress(f"send {path.name} ({path.stat().st_size / 1e6:.1f} MB)"):
                    self._put(name, path.read_bytes())
        self._sent |= {path: (digest, f"{digest}{suffix_of(path)}") for path, digest in hashes.items()}

    def ask(self, request: Request, time_limit: float) -> WorkerAnswer:
        """Let the worker measure there, on the fast cores where it has several kinds.

        Raises:
            BenchError: the worker crashed, or was not done in time.
            DeviceLostError: the connection was lost meanwhile.
            DcdDeployError: what the worker itself raised.
        """
        self.prepare([Path(path) for path in request.models.values()], request.runtime)
        aliases = {_alias(i, name): name for i, name in enumerate(request.models)}
        sent = {alias: self._sent[Path(request.models[name])] for alias, name in aliases.items()}
        names = {alias: name for alias, (_, name) in sent.items()}
        asked = replace(request, models=names, cpus=self._cpus(request))
        message = {"do": "ask", "request": asdict(asked), "time_limit": time_limit}
        said = self._session.ask(message, time_limit + SLACK)
        if "answer" not in said:
            raise self._unanswered(said, request, time_limit)
        hashes = {alias: digest for alias, (digest, _) in sent.items()}
        return _renamed(read_answer(said["answer"], asked, hashes, self.name), aliases)

    def setup(self, progress: Progress = silent) -> None:
        """Make an environment of our own there, with numpy and every runtime that has a wheel, unless all are there.

        Raises:
            DeviceLackError: it cannot be made, or not even one runtime can be installed.
        """
        with progress("set up"):
            if packages.complete(self._surveyed()):
                return
            message = {"do": "setup", "packages": packages.WANTED, "time_limit": SETUP_SECONDS}
            said = self._session.told(message, "setup", SETUP_SECONDS * (1 + len(packages.WANTED)) + ANSWER_SECONDS)
            packages.check_setup(said, self.name)
            self._session.restart()
            self._survey = None

    def clean(self) -> None:
        """Remove what was sent there, and the environment that ``setup`` made."""
        self._session.told({"do": "clean"}, "clean")
        self._sent.clear()

    def close(self) -> None:
        """End the connection, and with it whatever is measured there. May be called from any thread, and twice."""
        self._session.close()

    def _surveyed(self, *, anew: bool = False) -> Survey:
        if self._survey is None or anew:
            found = read_survey(self._session.told({"do": "survey"}, "survey"), self.name)
            notes = (*self._session.link.notes, *found.environment.notes)
            self._survey = replace(found, environment=replace(found.environment, notes=notes))
        return self._survey

    def _cpus(self, request: Request) -> tuple[int, ...] | None:
        """Return the cores to keep to: those asked for, else the fast ones, where there are enough of them."""
        if request.cpus is not None:
            return request.cpus
        big = big_cores(self._surveyed().cores)
        return big if big is not None and len(big) >= request.threads else None

    def _put(self, name: str, content: bytes) -> None:
        said = self._session.ask({"do": "put", "name": name, "bytes": len(content)})
        if "ready" in said:
            said = self._session.send(content)
        if "full" in said or "fault" in said:
            room = f"{said['full'] / 1e6:.0f} MB" if isinstance(said.get("full"), int) else str(said.get("fault"))
            raise DeviceLackError(
                expected=f"room for {len(content) / 1e6:.1f} MB in the home of {self.name}",
                found=room,
                advice=(
                    f"make room there, or remove what earlier runs keep: 'dcd-deploy devices {self.name}' with `clean`"
                ),
            )
        if "kept" not in said:
            raise misread(self.name, f"no word of whether it kept a file, but {sorted(said)[:3]}")

    def _unanswered(self, said: Message, request: Request, time_limit: float) -> DcdDeployError:
        if "error" in said:
            return read_error(said["error"], self.name)
        if said.get("late") is True:
            return BenchError(
                expected=f"{request.runtime} on {self.name} to be done within {time_limit:g} s",
                but="it is not",
                advice="give it more with `time_limit`",
            )
        if isinstance(ended := said.get("ended"), dict):
            code = ended.get("code")
            how = ending(code) if isinstance(code, int) else "ended its process"
            return BenchError(f"{request.runtime} on {self.name} {how}{last_lines(str(ended.get('words', '')))}")
        return misread(self.name, said.get("fault", "no answer"))


def _alias(number: int, name: str) -> str:
    """Return what a model is called on the line: no device needs to know what a file is called here."""
    return f"{number}-" + re.sub(r"[^A-Za-z0-9._-]", "_", name)[:60]


def _renamed(answer: WorkerAnswer, names: Mapping[str, str]) -> WorkerAnswer:
    """Return the answer with the models called as they are here."""
    return replace(
        answer,
        networks={names[alias]: found for alias, found in answer.networks.items()},
        hashes={names[alias]: found for alias, found in answer.hashes.items()},
        samples={names[alias]: found for alias, found in answer.samples.items()},
    )
