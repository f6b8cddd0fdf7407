"""Parts of one evaluation, counted anywhere, added up: whole numbers and exact sums, in whatever order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path

from dcd_deploy.errors import IncomparableError
from dcd_deploy.evaluation.counts_file import HASHES, Part, first_named, read_part
from dcd_deploy.evaluation.results import EvaluationResult, result_of
from dcd_deploy.evaluation.tally import Tally


def merge(paths: Sequence[Path]) -> EvaluationResult:
    """Return the result of all shards of an evaluation.

    Raises:
        ResultFileError: a file holds no counts.
        IncomparableError: the parts do not belong together, one is missing, twice there or not counted to its end.
    """
    parts = [read_part(path) for path in paths]
    for path, part in zip(paths, parts, strict=True):
        if found := parts[0].plan.differences(part.plan):
            raise IncomparableError(
                expected=f"parts of one evaluation, as '{paths[0].name}' is",
                found=f"'{path.name}', of {', '.join(found)}",
                advice="merge the parts of one command, run with each `shard`",
            )
    _check_complete(paths, parts)
    whole = reduce(_joined, sorted(parts, key=lambda part: part.shard))
    return result_of(whole, sorted({part.machine for part in parts}), whole=True)


def _check_complete(paths: Sequence[Path], parts: Sequence[Part]) -> None:
    shards = parts[0].plan.shards
    times = Counter(part.shard for part in parts)
    missing = [str(i) for i in range(1, min(shards, len(parts) + 10) + 1) if i not in times]
    doubled = [str(i) for i, count in sorted(times.items()) if count > 1]
    unfinished = [path.name for path, part in zip(paths, parts, strict=True) if len(part.done) < part.chunks]
    said = [
        f"{what} {', '.join(which)}"
        for what, which in (("no shard", missing), ("twice shard", doubled), ("not to its end", unfinished))
        if which
    ]
    if said:
        raise IncomparableError(
            expected=f"each of the {shards} shards once, counted to its end",
            found="; ".join(said),
            advice="run the command of a shard again: it goes on where it ended",
        )


def _joined(one: Part, other: Part) -> Part:
    return replace(
        one,
        tallies=tuple(map(Tally.__add__, one.tallies, other.tallies)),
        hashes=(one.hashes + other.hashes) % HASHES,
        unreadable=one.unreadable + other.unreadable,
        named=first_named(one.named, other.named),
    )
