"""What came from a device, checked before anything believes it: its form, its sizes, its numbers, its texts.

A device may be hostile, or run another program than ours. Nothing from it is used as a path; texts lose what could
steer a terminal and all beyond a length; numbers have to be such as the request could have given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dcd_deploy import errors
from dcd_deploy.benchmarks.decoding import MisfitError, Words, decode
from dcd_deploy.benchmarks.environment import Environment
from dcd_deploy.benchmarks.machine import CoreKind
from dcd_deploy.benchmarks.results import check_samples
from dcd_deploy.benchmarks.worker import TIME, Request, WorkerAnswer
from dcd_deploy.errors import BenchError, DcdDeployError, DeviceAnswerError, DeviceLackError

LONGEST_TEXT = 500  # characters
MOST_CORES, MOST_BATCH = 4096, 4096
MOST_ITEMS = 200  # packages, features, notes, kinds of cores
LARGEST = 10**18  # a number of ours is far below: bytes, milliseconds, MHz
# What a worker may say went wrong; of any other kind it is a BenchError.
KINDS = ("OptionError", "InputFileError", "ModelFileError", "MissingDependencyError", "VerificationError")


@dataclass(frozen=True)
class Survey:
    """What a device says it is; ``library`` is its C library, which wheels are made for."""

    environment: Environment
    cores: tuple[CoreKind, ...]
    free_mb: int
    library: str


def parse(line: bytes) -> dict[str, Any]:
    """Return the object in a line of JSON, its texts cleaned.

    Raises:
        ValueError: it is none.
    """
    try:
        message = json.loads(line, parse_constant=_refuse, parse_int=_whole, parse_float=_fraction)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(message, dict):
        raise ValueError("not an object")
    cleaned: dict[str, Any] = _cleaned(message)
    return cleaned


def read_survey(content: object, device: str) -> Survey:
    """Return what a device says it is.

    Raises:
        DeviceAnswerError: nothing that our runner would say.
    """
    try:
        found = decode(Survey, content)
        _check_sizes(found)
    except MisfitError as error:
        raise misread(device, error) from error
    return found


def read_answer(content: object, request: Request, hashes: Mapping[str, str], device: str) -> WorkerAnswer:
    """Return the answer to ``request``, whose models have these SHA-256 ``hashes``.

    Raises:
        DeviceAnswerError: it is not one that our runner could have given.
    """
    try:
        answer = decode(WorkerAnswer, content)
        _check_setting(answer, request)
        if request.task == TIME:
            _check_times(answer, request, hashes)
    except MisfitError as error:
        raise misread(device, error) from error
    return answer


def read_error(content: object, device: str) -> DcdDeployError:
    """Return the error that the worker on a device ended in."""
    try:
        kind, message = (str(content[key]) for key in ("kind", "message"))  # type: ignore[index]  # else TypeError
    except (KeyError, TypeError) as error:
        raise misread(device, error) from error
    if kind == "MissingDependencyError":
        return DeviceLackError(f"on {device}: {message}")
    found: DcdDeployError = (getattr(errors, kind) if kind in KINDS else BenchError)(f"on {device}: {message}")
    return found


def misread(device: str, reason: object) -> DeviceAnswerError:
    """Return the error of a device that says something else than our runner."""
    return DeviceAnswerError(
        expected=f"an answer of our runner from {device}",
        found=f"another ({str(reason)[:200]})",
        advice=f"see what its login prints, or start anew: 'dcd-deploy devices {device}' with `clean`",
    )


def _check_sizes(found: Survey) -> None:
    here, cpus = found.environment, [cpu for kind in found.cores for cpu in kind.cpus]
    if not 1 <= here.cores <= MOST_CORES:
        raise MisfitError("/environment/cores", f"1 to {MOST_CORES} cores", here.cores)
    if len(cpus) > MOST_CORES or not all(0 <= cpu < MOST_CORES for cpu in cpus):
        raise MisfitError("/cores", f"at most {MOST_CORES} cores", Words("others"))
    for name, items in (("features", here.features), ("packages", here.packages), ("notes", here.notes)):
        if len(items) > MOST_ITEMS:
            raise MisfitError(f"/environment/{name}", f"at most {MOST_ITEMS} {name}", Words(f"{len(items)}"))
    if len(found.cores) > MOST_ITEMS:
        raise MisfitError("/cores", f"at most {MOST_ITEMS} kinds", Words(f"{len(found.cores)}"))


def _check_setting(answer: WorkerAnswer, request: Request) -> None:
    if answer.runtime != request.runtime:
        raise MisfitError("/runtime", request.runtime, answer.runtime)
    if not 1 <= answer.batch <= MOST_BATCH or request.batch not in (None, answer.batch):
        raise MisfitError("/batch", f"a batch of {request.batch or 'at least one'}", answer.batch)
    if answer.cpus != request.cpus:
        raise MisfitError("/cpus", f"the cores {request.cpus}", Words(f"{answer.cpus}"[:60]))
    megabytes = [value for value in (answer.idle_mb, answer.peak_mb) if value is not None]
    if megabytes and not 0 <= min(megabytes) <= max(megabytes) < 2**40:
        raise MisfitError("/peak_mb", "megabytes of memory", max(megabytes))


def _check_times(answer: WorkerAnswer, request: Request, hashes: Mapping[str, str]) -> None:
    for name, found in (("hashes", answer.hashes), ("samples", answer.samples), ("networks", answer.networks)):
        if set(found) != set(request.models):
            raise MisfitError(f"/{name}", f"the models {', '.join(request.models)}", Words("others"))
    if dict(answer.hashes) != dict(hashes):
        raise MisfitError("/hashes", "the files that were sent", Words("others"))
    shapes = set()
    for name, samples in answer.samples.items():
        check_samples(samples, f"/samples/{name[:60]}")
        if not samples.load_ms or not all(0 <= number < request.config.rounds for number in samples.rounds):
            raise MisfitError(
                f"/samples/{name[:60]}/rounds", f"at most {request.config.rounds} rounds", Words("others")
            )
        shapes.add((samples.rounds, tuple(map(len, samples.blocks_ms))))
    if len(shapes) != 1:
        raise MisfitError("/samples", "as many blocks of each model, measured in turns", Words("others"))


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return "".join(char if char.isprintable() else " " for char in value[:LONGEST_TEXT])
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {str(_cleaned(key)): _cleaned(item) for key, item in value.items()}
    return value


def _whole(digits: str) -> int:
    _fraction(digits)
    return int(digits)


def _fraction(digits: str) -> float:
    value = float(digits)
    if not -LARGEST < value < LARGEST:
        raise ValueError("a number that is too large")
    return value


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not a number")
