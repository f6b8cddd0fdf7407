"""What a profile found: the time of each node a runtime ran, and sums by layer, by part of the network, by operator.

It is written as a table, a row for each node in the order in which they ran, and read again from what ``dcd-deploy
profile --json`` prints. Whoever sent that may have changed it.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from dcd_deploy.benchmarks.decoding import MisfitError, decode
from dcd_deploy.benchmarks.environment import Environment
from dcd_deploy.benchmarks.results import read_document
from dcd_deploy.errors import ResultFileError
from dcd_deploy.files import staging

SCHEMA = 2
MOST_RUNS = 200  # a profile of them all is read at once
KIND = "dcd-deploy profile"


@dataclass(frozen=True)
class ProfiledNode:
    """A node as the runtime ran it, which may be several of the file, in one.

    ``layer`` is by the name in the trained network, or empty; ``part`` one of ``runtimes.nodes.PARTS``; ``macs`` for
    the file's own batch (a free one counted as one), the bytes as far as the runtime or the file says them.
    """

    name: str
    operator: str
    layer: str
    part: str
    median_ms: float
    macs: int
    bytes_read: int
    bytes_written: int


@dataclass(frozen=True)
class Sums:
    """Several nodes together; ``parts_ms`` by part."""

    name: str
    parts_ms: dict[str, float]
    macs: int
    bytes_read: int
    bytes_written: int
    nodes: int

    @property
    def total_ms(self) -> float:
        """All parts."""
        return sum(self.parts_ms.values())


@dataclass(frozen=True)
class ProfileResult:
    """One profile. ``total_ms`` is the sum of the nodes' medians, ``latency_ms`` the median without a profiler."""

    model: str
    network: str | None  # such as "mobilenetv2_dcd ×0.5, int8 weights", where the file says it
    runtime: str
    threads: int
    runs: int
    nodes: tuple[ProfiledNode, ...]
    total_ms: float
    latency_ms: float
    environment: Environment
    kind: str = field(default=KIND)
    schema: int = SCHEMA

    def by_layer(self) -> tuple[Sums, ...]:
        """Return the sums of each layer, in the order in which the layers first ran."""
        return sums(self.nodes, lambda node: node.layer)

    def by_part(self) -> tuple[Sums, ...]:
        """Return the sums of each part that there is."""
        return sums(self.nodes, lambda node: node.part)

    def by_type(self) -> tuple[Sums, ...]:
        """Return the sums of each kind of operator, the slowest first."""
        return tuple(sorted(sums(self.nodes, lambda node: node.operator), key=lambda found: -found.total_ms))


def sums(nodes: Iterable[ProfiledNode], key: Callable[[ProfiledNode], str]) -> tuple[Sums, ...]:
    """Add up the nodes of each key, in the order in which the keys first appear."""
    groups: dict[str, list[ProfiledNode]] = {}
    for node in nodes:
        groups.setdefault(key(node), []).append(node)
    return tuple(_sum(name, group) for name, group in groups.items())


def _sum(name: str, nodes: list[ProfiledNode]) -> Sums:
    parts: dict[str, float] = {}
    for node in nodes:
        parts[node.part] = parts.get(node.part, 0.0) + node.median_ms
    return Sums(
        name,
        parts,
        macs=sum(node.macs for node in nodes),
        bytes_read=sum(node.bytes_read for node in nodes),
        bytes_written=sum(node.bytes_written for node in nodes),
        nodes=len(nodes),
    )


def write_csv(result: ProfileResult, path: Path) -> None:
    """Write the nodes of a profile, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    with staging(path.parent) as folder, (folder / path.name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(ProfiledNode)])
        writer.writeheader()
        writer.writerows(asdict(node) for node in result.nodes)


HINT = "write one with 'dcd-deploy profile', as JSON"


def read_profile(path: Path) -> ProfileResult:
    """Return the profile in a file; the sums that stand beside the nodes are made anew.

    Raises:
        InputFileError: there is no such file. ResultFileError: it is no profile, or of another schema version.
    """
    document = read_document(path, "a profile of dcd-deploy profile")
    if not isinstance(document, dict) or (document.get("kind"), document.get("schema")) != (KIND, SCHEMA):
        found = f"expected a '{KIND}' document of schema version {SCHEMA}, found another"
        raise ResultFileError(f"cannot read the profile '{path}': {found}; {HINT}")
    known = {field.name for field in fields(ProfileResult)}
    try:
        return decode(ProfileResult, {key: value for key, value in document.items() if key in known})
    except MisfitError as error:
        raise ResultFileError(f"cannot read the profile '{path}': at {error}; {HINT}") from error
