"""The exact counts of a part of an evaluation, in a JSON file: it goes on there, and parts add up.

A file says what it is of: the images, the models by their hashes, the network, and which shard of how many. Chunks
that are counted are listed, so that a run that was cut off goes on with the others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dcd_deploy import __version__
from dcd_deploy.errors import ResultFileError
from dcd_deploy.evaluation.tally import Tally
from dcd_deploy.evaluation.worker import Counted
from dcd_deploy.fields import reason, text, whole
from dcd_deploy.files import existing_file, read_json, utf8, write_whole

SCHEMA = 1
LARGEST = 1 << 28
CHUNK = 16  # images
NAMED = 10  # of the unreadable ones
HASHES = 1 << 256
EXPECTED = "counts of `dcd-deploy evaluate`"


@dataclass(frozen=True)
class EvaluationPlan:
    """What is evaluated; parts belong together where this is equal.

    ``models`` are the facts of every subject, the network first where there is one (``reference``). ``data`` is the
    identity of the images, ``images`` their number, ``classes`` the classes, ``present`` those that have images.
    """

    data: str
    source: str
    images: int
    classes: int
    present: int
    reference: bool
    models: tuple[dict[str, str | int], ...]
    shards: int
    producer: str = __version__

    def differences(self, other: EvaluationPlan) -> list[str]:
        """Return in words how another plan differs; the name of the folder does not count."""
        words = {
            "data": "other images",
            "images": "another number of images",
            "classes": "other classes",
            "reference": "one with a checkpoint, one without",
            "shards": "another number of shards",
            "producer": "another version of dcd-deploy",
        }
        found = [said for name, said in words.items() if getattr(self, name) != getattr(other, name)]
        if self.models != other.models:
            found.append(_models_differ(self.models, other.models))
        return found


def _models_differ(ours: Sequence[dict[str, str | int]], others: Sequence[dict[str, str | int]]) -> str:
    if len(ours) != len(others):
        return "another number of models"
    one, other = next((a, b) for a, b in zip(ours, others, strict=True) if a != b)
    keys = [key for key in one if one[key] != other.get(key)]
    return f"another model ('{one.get('name')}' against '{other.get('name')}': {', '.join(keys) or 'more facts'})"


@dataclass(frozen=True)
class Part:
    """What was counted of one shard, from 1 to ``plan.shards``; ``done`` are its chunks that were.

    ``newest_ns`` is when the images were last changed; ``machine`` is where the times come from.
    """

    plan: EvaluationPlan
    shard: int
    done: tuple[int, ...]
    tallies: tuple[Tally, ...]
    hashes: int
    unreadable: int
    named: tuple[tuple[str, str], ...]
    newest_ns: int
    machine: str

    @property
    def indices(self) -> range:
        """The images of the shard: every ``shards``-th."""
        return range(self.shard - 1, self.plan.images, self.plan.shards)

    @property
    def chunks(self) -> int:
        """How many chunks the shard has."""
        return -(-len(self.indices) // CHUNK)

    @property
    def remaining(self) -> list[int]:
        """The chunks that are not counted yet."""
        done = set(self.done)
        return [i for i in range(self.chunks) if i not in done]

    def chunk(self, number: int) -> range:
        """Return the images of a chunk."""
        return self.indices[number * CHUNK : (number + 1) * CHUNK]

    def with_chunk(self, number: int, counted: Counted) -> Part:
        """Return the part with one chunk more."""
        return replace(
            self,
            done=(*self.done, number),
            tallies=tuple(map(Tally.__add__, self.tallies, counted.tallies)),
            hashes=(self.hashes + counted.hashes) % HASHES,
            unreadable=self.unreadable + len(counted.unreadable),
            named=first_named(self.named, counted.unreadable),
        )


def first_named(*lists: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return the first few by name, whatever order they come in."""
    return tuple(sorted(each for one in lists for each in one)[:NAMED])


def empty_part(plan: EvaluationPlan, shard: int, newest_ns: int, machine: str) -> Part:
    """Return a part of which nothing is counted yet."""
    return Part(plan, shard, (), tuple(Tally() for _ in plan.models), 0, 0, (), newest_ns, machine)


def write_part(path: Path, part: Part) -> None:
    """Write a part whole or not at all."""
    content = asdict(part) | {
        "kind": "evaluation",
        "schema": SCHEMA,
        "tallies": [tally.as_plain() for tally in part.tallies],
        "hashes": f"{part.hashes:064x}",
    }
    write_whole(path, utf8(json.dumps(content, indent=1)))


def read_part(path: Path) -> Part:
    """Read a part back, from a file that anybody may have written.

    Raises:
        InputFileError: there is no such file. ResultFileError: it is no such part.
    """
    path = existing_file(path, EXPECTED)
    try:
        return _parse(read_json(path, LARGEST))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ResultFileError(
            expected=f"{EXPECTED} in '{path}'",
            but=f"it is none, or damaged: {reason(error)}",
            advice="count that part again",
        ) from error


def _parse(data: dict[str, Any]) -> Part:
    if not isinstance(data, dict) or data.get("kind") != "evaluation" or data.get("schema") != SCHEMA:
        raise ValueError(f"it is not of kind 'evaluation', schema {SCHEMA}")
    plan = _parse_plan(data["plan"])
    done, tallies = data["done"], tuple(map(Tally.from_plain, data["tallies"]))
    part = Part(
        plan,
        whole(data["shard"], 1, plan.shards),
        (),
        tallies,
        int(text(data["hashes"]), 16) % HASHES,
        whole(data["unreadable"], 0, plan.images),
        tuple((text(name), text(why)) for name, why in data["named"])[:NAMED],
        whole(data["newest_ns"], 0, 1 << 64),
        text(data["machine"]),
    )
    part = replace(part, done=tuple(whole(each, 0, part.chunks - 1) for each in done))
    seen = sum(len(part.chunk(each)) for each in part.done)
    if len(set(part.done)) != len(part.done) or len(tallies) != len(plan.models):
        raise ValueError("a chunk twice, or another number of tallies than of models")
    if any(tally.images + part.unreadable != seen for tally in tallies):
        raise ValueError("the images of its chunks are not those that it counted")
    return part


def _parse_plan(data: dict[str, Any]) -> EvaluationPlan:
    models = tuple({text(k): v for k, v in dict(each).items() if isinstance(v, str | int)} for each in data["models"])
    for each in models:
        for name in ("name", "sha256", "runtime", "version"):
            text(each[name])
        whole(each["bytes"], 0, 1 << 50)
        whole(each["batch"], 1, 1 << 20)
    if not models or not isinstance(data["reference"], bool):
        raise ValueError("no model")
    images, classes, present, shards = (
        whole(data[name], 1, 1 << 40) for name in ("images", "classes", "present", "shards")
    )
    identity, source, producer = (text(data[name]) for name in ("data", "source", "producer"))
    return EvaluationPlan(identity, source, images, classes, present, data["reference"], models, shards, producer)
