"""What a benchmark found, raw samples included, and its file: one JSON document of a versioned schema.

A ``BenchResult`` has a ``Trial`` for each device × model × runtime × threads × batch; in a trial the model and all that
it is compared with were measured in turns in one process. What emulated cores counted stands apart, in ``counts``. A
trial that could not be measured is a ``Failure``; the others are kept.

``bench.schema.json`` describes the file. Whoever sent one may have changed it, so that what was read is held against
the schema, and its parts against each other, as every report takes for granted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Sequence
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any

from dcd_deploy.benchmarks.counts import CountedModel, CountSection, CountTrial, count_ratios, same_ratios
from dcd_deploy.benchmarks.decoding import MisfitError, Words, decode
from dcd_deploy.benchmarks.environment import Environment
from dcd_deploy.benchmarks.machine import Machine
from dcd_deploy.benchmarks.measure import MeasureConfig, Samples
from dcd_deploy.benchmarks.statistics import Latency, Ratio
from dcd_deploy.errors import ResultFileError
from dcd_deploy.files import existing_file, read_json, write_whole

SCHEMA = 4
KIND = "dcd-deploy bench"
MODEL, STATIC, AGAINST = "model", "static", "against"  # the roles within a trial


@dataclass(frozen=True)
class Memory:
    """Peak resident memory of a process that did nothing but open the model and run it.

    ``own_mb`` is without Python and the runtime's library.
    """

    peak_mb: float
    own_mb: float


@dataclass(frozen=True)
class Timing:
    """One model of a trial. ``role`` is MODEL, STATIC or AGAINST; ``name`` is what reports call it."""

    role: str
    name: str
    path: str
    sha256: str
    network: str | None  # such as "mobilenetv2_dcd ×0.5", where the file says it
    samples: Samples
    latency: Latency
    memory: Memory | None


@dataclass(frozen=True)
class Verdict:
    """A remark of the benchmark on itself. ``kind`` is one of ``verdicts.KINDS``, ``text`` one line for people."""

    kind: str
    text: str


@dataclass(frozen=True)
class Trial:
    """One model, ``timings[0]``, and what it is compared with; ``ratios`` goes by the names of the other timings.

    ``device`` is a key of the result's ``environments``.
    """

    device: str
    runtime: str
    runtime_version: str
    threads: int
    batch: int
    cpus: tuple[int, ...] | None
    timings: tuple[Timing, ...]
    ratios: dict[str, Ratio]
    machine: Machine
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class Failure:
    """A trial without a result, and why."""

    device: str
    name: str
    runtime: str
    threads: int
    batch: int | None
    reason: str


@dataclass(frozen=True)
class BenchResult:
    """One run of the benchmark; ``environments`` are those of the devices that were reached, by their names.

    ``counts`` is None where no emulated core was asked.
    """

    environments: dict[str, Environment]
    config: MeasureConfig
    trials: tuple[Trial, ...]
    failures: tuple[Failure, ...] = ()
    counts: CountSection | None = None
    kind: str = field(default=KIND)
    schema: int = SCHEMA


MOST = 10**18  # of anything in one run: a year of a fast core is less


def check_counts(section: CountSection, timed: Collection[str], place: str = "/counts") -> None:
    """Raise MisfitError unless the parts of the counts agree; ``timed`` are the devices that gave times."""
    if section.runs < 1:
        raise MisfitError(f"{place}/runs", "at least one run", section.runs)
    if both := set(section.cores) & set(timed):
        raise MisfitError(f"{place}/cores", "no device that gave times", min(both))
    if section.trials and section.qemu is None:
        raise MisfitError(f"{place}/qemu", "the version that counted", None)
    for i, trial in enumerate(section.trials):
        _check_counts_trial(trial, section, f"{place}/trials/{i}")


def check_names(roles: Sequence[str], names: Sequence[str], place: str) -> None:
    """Raise MisfitError unless the models of a trial, of times or of counts, have the roles and names they can have."""
    if list(roles[:1]) != [MODEL] or not set(roles[1:]) <= {STATIC, AGAINST}:
        raise MisfitError(place, f"'{MODEL}' first, then '{STATIC}' or '{AGAINST}'", Words(f"{list(roles)}"[:80]))
    if len(set(names)) != len(names):
        raise MisfitError(place, "a different name for each", Words("one twice"))


def _check_counts_trial(trial: CountTrial, section: CountSection, place: str) -> None:
    if section.cores.get(trial.device) != trial.core:
        raise MisfitError(f"{place}/device", "a device of the counts, with its core", trial.device)
    if trial.batch < 1:
        raise MisfitError(f"{place}/batch", "a batch of one at least", trial.batch)
    check_names([model.role for model in trial.models], [model.name for model in trial.models], f"{place}/models")
    for i, model in enumerate(trial.models):
        _check_model(model, f"{place}/models/{i}")
    others = {model.name: model for model in trial.models[1:]}
    if strangers := set(trial.ratios) - set(others):
        raise MisfitError(f"{place}/ratios", "names of models after the first", min(strangers))
    for name, ratios in trial.ratios.items():
        if not same_ratios(ratios, count_ratios(trial.models[0].counts, others[name].counts)):
            raise MisfitError(f"{place}/ratios/{name[:60]}", "the ratios of the counts", Words("others"))


def _check_model(model: CountedModel, place: str) -> None:
    counts = model.counts
    if min(astuple(counts)) < 0 or counts.instructions < 1 or max(astuple(counts)) > MOST:
        raise MisfitError(f"{place}/counts", f"counts from 0 to {MOST:.0e}, and an instruction", Words("otherwise"))
    if model.traffic_bytes != counts.traffic_bytes:
        raise MisfitError(f"{place}/traffic_bytes", f"{counts.traffic_bytes}, as counted", Words("otherwise"))
    if model.spread < 0:
        raise MisfitError(f"{place}/spread", "at least zero", model.spread)


LARGEST_BYTES = 32 << 20  # a hundred times what a usual run writes; in memory it is twenty times as large
SCHEMA_FILE = Path(__file__).with_name("bench.schema.json")
HINT = "give what 'dcd-deploy bench --save FILE.json' wrote"


def write_result(path: str | os.PathLike[str], result: BenchResult) -> None:
    """Write ``result``, whole or not at all; ``read_result`` returns it equal to the last bit.

    Raises:
        OutputError: the file cannot be written.
        ValueError: a number is not finite (a defect of the measurement).
    """
    write_whole(Path(path), json.dumps(asdict(result), allow_nan=False).encode("ascii") + b"\n")


def read_result(path: str | os.PathLike[str]) -> BenchResult:
    """Return the result in the file ``path``.

    Raises:
        InputFileError: there is no such file, or it cannot be read.
        ResultFileError: it is no result, a damaged one, or of another schema version.
    """
    path = Path(path)
    document = read_document(path, "a result of dcd-deploy bench")
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise _error(path, f"expected the JSON object of a '{KIND}' result, found another", HINT)
    if document.get("schema") != SCHEMA or isinstance(document.get("schema"), bool):
        found = str(document.get("schema"))[:20]
        raise _error(
            path,
            f"this program reads version {SCHEMA} of the schema, found version {found}",
            "measure again, or read the file with the dcd-deploy that wrote it",
        )
    try:
        result = decode(BenchResult, document)
        for i, trial in enumerate(result.trials):
            _check_trial(trial, result.environments, f"/trials/{i}")
        if result.counts is not None:
            check_counts(result.counts, result.environments)
    except MisfitError as error:
        raise _error(path, f"at {error}", HINT) from error
    return result


def read_document(path: Path, expected: str) -> Any:
    """Return the JSON document in a file of which ``expected`` was expected.

    Raises:
        InputFileError: there is no such file. ResultFileError: it is no JSON, or larger than LARGEST_BYTES.
    """
    path = existing_file(path, expected)
    try:
        return read_json(path, LARGEST_BYTES)
    except UnicodeDecodeError as error:
        raise _error(path, "expected a JSON document, found other bytes than text", HINT) from error
    except ValueError as error:
        raise _error(path, f"expected a JSON document, but: {str(error)[:120]}", HINT) from error


def _check_trial(trial: Trial, devices: Collection[str], place: str) -> None:
    """Raise MisfitError unless the parts of a trial agree with each other, as every report takes for granted."""
    if trial.device not in devices:
        raise MisfitError(f"{place}/device", "a name among the environments", trial.device)
    names = [timing.name for timing in trial.timings]
    check_names([timing.role for timing in trial.timings], names, f"{place}/timings")
    if trial.threads < 1 or trial.batch < 1:
        raise MisfitError(place, "at least one thread and a batch of one", Words(f"{trial.threads}, {trial.batch}"))
    if strangers := set(trial.ratios) - set(names[1:]):
        raise MisfitError(f"{place}/ratios", "names of timings after the first", min(strangers))
    for name, ratio in trial.ratios.items():
        _check_ratio(ratio, f"{place}/ratios/{name[:60]}")
    for i, timing in enumerate(trial.timings):
        _check_timing(timing, f"{place}/timings/{i}")


def _check_ratio(ratio: Ratio, place: str) -> None:
    if not 0 < ratio.low <= ratio.median <= ratio.high or not 0 < ratio.confidence < 1:
        raise MisfitError(place, "0 < low ≤ median ≤ high and a confidence below 1", Words("otherwise"))


def _check_timing(timing: Timing, place: str) -> None:
    check_samples(timing.samples, f"{place}/samples")
    if timing.latency.median_ms <= 0:
        raise MisfitError(f"{place}/latency/median_ms", "more than zero", timing.latency.median_ms)


def check_samples(s: Samples, place: str) -> None:
    """Raise MisfitError unless raw samples are times, block by block, as every report takes for granted."""
    times = (*s.load_ms, *s.first_ms, *s.warmup_ms, *(ms for block in s.blocks_ms for ms in block))
    if min(times, default=0) < 0:
        raise MisfitError(place, "times of at least zero", min(times))
    if not s.blocks_ms or any(not block or min(block) <= 0 for block in s.blocks_ms):
        raise MisfitError(f"{place}/blocks_ms", "runs of more than zero milliseconds", Words("an empty block or 0"))
    if len(s.rounds) != len(s.blocks_ms):
        raise MisfitError(
            f"{place}/rounds", f"a number for each of {len(s.blocks_ms)} blocks", Words(f"{len(s.rounds)}")
        )


def _error(path: Path, what: str, hint: str) -> ResultFileError:
    return ResultFileError(f"cannot read the result '{path}': {what}; {hint}")
