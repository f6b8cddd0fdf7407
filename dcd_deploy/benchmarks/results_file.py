"""The file of a BenchResult: JSON as ``bench.schema.json`` describes it. Whoever sent it may have changed it."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dcd_deploy.benchmarks.counts_checking import check_counts, check_names
from dcd_deploy.benchmarks.decoding import MisfitError, Words, decode
from dcd_deploy.benchmarks.measure import Samples
from dcd_deploy.benchmarks.results import KIND, SCHEMA, BenchResult, Timing, Trial
from dcd_deploy.benchmarks.statistics import Ratio
from dcd_deploy.errors import ResultFileError
from dcd_deploy.files import existing_file, read_json, write_whole

LARGEST_BYTES = 32 << 20  # a hundred times what a usual run writes; in memory it is twenty times as large
SCHEMA_FILE = Path(__file__).with_name("bench.schema.json")
HINT = f"write one with 'dcd-deploy bench', as JSON; what it holds is said in {SCHEMA_FILE.name}"


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
