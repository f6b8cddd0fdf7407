"""One model file in every runtime that is installed: right or not, and how quick beside its static twin.

    file, twin → for each runtime a process of its own: version, error on the carried samples, times in turns → a row

What a runtime crashes on, refuses or takes too long for is in its row, and the others go on.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dcd_deploy.artifacts import ModelCard
from dcd_deploy.benchmarks.environment import read_environment
from dcd_deploy.benchmarks.measure import Samples
from dcd_deploy.benchmarks.other_runtimes import (
    described_of,
    error_of,
    inputs_of,
    lack_of,
    names_of,
    refused,
    way_to_install,
)
from dcd_deploy.benchmarks.runtime_results import (
    FAILED,
    HERE,
    LOADS,
    MISSING,
    NOWHERE,
    RIGHT,
    STATUSES,
    WRONG,
    PairTimes,
    RuntimeRow,
    RuntimesResult,
)
from dcd_deploy.benchmarks.statistics import ratio
from dcd_deploy.errors import DcdDeployError, ModelFileError
from dcd_deploy.files import suffix_of
from dcd_deploy.progress import Progress, silent
from dcd_deploy.runtimes.environments import KNOWN, environment_folder, python_of
from dcd_deploy.runtimes.isolated import Isolated
from dcd_deploy.runtimes.litert import LiteRtSession
from dcd_deploy.runtimes.nodes import delegation
from dcd_deploy.runtimes.others.process import Answer, Names, ask
from dcd_deploy.runtimes.pte_file import read_program
from dcd_deploy.runtimes.session import Input


@dataclass(frozen=True)
class _Subject:
    files: tuple[Path, ...]
    named: dict[Path, Names]
    card: ModelCard
    inputs: dict[str, Input]


def list_runtimes(names: Sequence[str], progress: Progress = silent) -> RuntimesResult:
    """Say which runtimes are installed, of what version, and whether they load."""
    environment = read_environment()
    rows = []
    for name in names or KNOWN:
        with progress(name):
            rows.append(_listed(name))
    return RuntimesResult(None, None, None, 0, 1, 0, tuple(rows), environment)


def try_runtimes(
    model: Path,
    static: Path | None,
    names: Sequence[str] = (),
    *,
    baseline: str = "static twin",
    threads: int = 1,
    blocks: int = 20,
    time_limit: float = 600.0,
    progress: Progress = silent,
) -> RuntimesResult:
    """Try a file, and its static twin if given, in the runtimes for files of its kind, or in those named.

    Raises:
        ModelFileError: it is damaged, or carries no reference.
    """
    environment = read_environment()
    files = (model,) if static is None else (model, static)
    card, called = described_of(model)
    named = {model: called}
    if static is not None:
        with suppress(ModelFileError):  # what is wrong with it, each runtime says in its row
            named[static] = names_of(static)
    inputs = inputs_of(card)
    subject = _Subject(files, named, card, inputs)
    rows = []
    for name in names or [name for name, known in KNOWN.items() if suffix_of(model) in known.suffixes]:
        with progress(name):
            rows.append(_tried(name, subject, threads, blocks, time_limit))
    assert card.reference is not None  # as carried_inputs has seen
    limit = card.limit
    beside = None if static is None else baseline
    return RuntimesResult(
        model.name,
        beside,
        limit,
        len(next(iter(inputs.values()))),
        threads,
        blocks,
        tuple(sorted(rows, key=_order)),
        environment,
    )


def _listed(name: str) -> RuntimeRow:
    python = python_of(name)
    if python is None:
        return _missing(name)
    answer = ask(KNOWN[name].module, (), {"x": np.zeros((1, 1), np.float32)}, (), python=python, timeout_s=120)
    status = LOADS if answer.failure is None else FAILED
    return RuntimeRow(name, status, _place(name, python), answer.version, answer.failure, remark=_remark(name, answer))


def _tried(name: str, subject: _Subject, threads: int, blocks: int, time_limit: float) -> RuntimeRow:
    known, python = KNOWN[name], python_of(name)
    model = subject.files[0]
    if suffix_of(model) not in known.suffixes:
        kinds = " and ".join(f"'{suffix}'" for suffix in known.suffixes)
        return RuntimeRow(name, FAILED, NOWHERE, failure=f"it reads {kinds} files, not '{model.name}'")
    if lack := lack_of(name, subject.card):
        return RuntimeRow(name, FAILED, NOWHERE, failure=lack)
    if python is None:
        return _missing(name)
    answer = ask(
        known.module,
        subject.files if known.timed else subject.files[:1],
        subject.inputs,
        [spec.name for spec in subject.card.outputs],
        named=subject.named,
        python=python,
        threads=threads,
        blocks=blocks * known.timed,
        timeout_s=time_limit,
    )
    if answer.failure is not None:
        failure = refused(name, answer, model, subject.card)
        return RuntimeRow(name, FAILED, _place(name, python), answer.version, failure, remark=_remark(name, answer))
    return _answered(name, _place(name, python), answer, subject)


def _answered(name: str, place: str, answer: Answer, subject: _Subject) -> RuntimeRow:
    own = answer.models[0]
    partitions, left_out = None, own.left_out
    try:
        error = error_of(own, subject.card)
        if KNOWN[name].module in DELEGATED:
            with Isolated(subject.files[0]) as other:
                partitions, left_out = other.call(DELEGATED[KNOWN[name].module], subject.files[0])
    except DcdDeployError as failure:
        return RuntimeRow(name, FAILED, place, answer.version, str(failure))
    assert subject.card.reference is not None
    return RuntimeRow(
        name,
        RIGHT if error <= subject.card.limit else WRONG,  # not a number is wrong
        place,
        answer.version,
        None,
        error,
        partitions,
        left_out,
        own.open_s,
        _times([model.cpu_ms for model in answer.models]),
        _times([model.wall_ms for model in answer.models]),
        _remark(name, answer),
    )


def _in_litert(path: Path) -> tuple[int, tuple[str, ...]]:
    found = delegation(LiteRtSession(path, 1))
    return found.partitions, tuple(f"{each.operator} {each.index}" for each in found.left_out)


def _in_executorch(path: Path) -> tuple[int, tuple[str, ...]]:
    found = read_program(path.read_bytes(), path)
    return found.delegate_calls, found.outside


# Each returns the partitions that XNNPACK took, and the operators that it left out; called in another process
DELEGATED = {"litert": _in_litert, "executorch": _in_executorch}


def _times(blocks_ms: Sequence[tuple[float, ...]]) -> PairTimes | None:
    if not blocks_ms[0]:
        return None
    own, *twins = blocks_ms
    between = ratio(_as_samples(own), _as_samples(twins[0])) if twins else None
    return PairTimes(float(np.median(own)), float(np.median(twins[0])) if twins else None, between)


def _as_samples(blocks: tuple[float, ...]) -> Samples:
    return Samples((), (), (), tuple((each,) for each in blocks), (0,) * len(blocks))


def _missing(name: str) -> RuntimeRow:
    return RuntimeRow(name, MISSING, NOWHERE, failure=f"install it with {way_to_install(name)}")


def _place(name: str, python: Path) -> str:
    return HERE if python == Path(sys.executable) else str(environment_folder(name))


def _remark(name: str, answer: Answer) -> str | None:
    """Say so where a runtime is older than what files were checked on."""
    since = KNOWN[name].since
    if answer.version is None or _numbers(answer.version) >= _numbers(since):
        return None
    return f"older than {since}, the oldest version that files were checked on"


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: (1, 26, 0) of ``1.26.0rc1``."""
    parts = version.partition(",")[0].split(".")
    digits = ["".join(c for c in part if c.isdigit()) for part in parts]
    return tuple(int(part) for part in digits if part)


def _order(row: RuntimeRow) -> tuple[int, float]:
    return STATUSES.index(row.status), row.cpu.model_ms if row.cpu else math.inf
