"""The parts of each layer, what each takes and what it could not go below; and the file docs/figures/roofline.csv.

    roofline of a part = max(multiply-adds / their pace, weights / pace of memory + maps / pace of a cache)

The maps are those that a part takes from others and gives to others: what it writes and reads again itself could stay
in registers. So no implementation of the part is below it, in however few operators.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from pages import DOCS
from xnnpack_graph import POOLING

from dcd_deploy.benchmarks.profile_litert import layers_of
from dcd_deploy.runtimes.nodes import OF_THE_TWIN, FileNode

DATA = DOCS / "figures" / "roofline.csv"
PARTS = {
    "static": "static part: what the twin has too",
    "kernel": "assembling the kernel: P Φ Q, λ ⊙ W0, sums",
    "attention": "attention: products of one row, b(x)",
    "pooling": "its pooling",
    "rest": "the rest: Q x, Φ, P y, λ and sums of the branch order",
}
NUMBERS = {"us": float, "roofline_us": float, "macs": int, "weight_bytes": int, "map_bytes": int, "operators": int}


@dataclass(frozen=True)
class Paces:
    """What the machine does in a millisecond: multiply-adds, bytes of weights, bytes of maps."""

    macs: float
    weights: float
    maps: float


@dataclass(frozen=True)
class Part:
    """The operators of one part of one layer in one file: microseconds measured, and those of the roofline."""

    file: str
    kernel: str
    layer: str
    part: str
    us: float
    roofline_us: float
    macs: int
    weight_bytes: int
    map_bytes: int
    operators: int


def part_of(node: FileNode) -> str:
    """Return the part of a node by its name; what has none, at the ends of a file, the twin has too."""
    inside = node.name.split("/")[1] if node.layer else "static"
    if inside in OF_THE_TWIN or inside.startswith("static."):
        return "static"
    if node.operator == POOLING:
        return "pooling"
    if inside.startswith(("attention", "shift")):
        return "attention"
    return "kernel" if inside == "kernel" else "rest"


def parts(file: str, kernel: str, nodes: Sequence[FileNode], times: Sequence[float], paces: Paces) -> Iterator[Part]:
    """Yield the parts of a file's layers; ``times`` are the microseconds of its nodes."""
    groups: dict[tuple[str, str], list[int]] = {}
    for place, (layer, node) in enumerate(zip(layers_of(nodes), nodes, strict=True)):
        groups.setdefault((layer, part_of(node)), []).append(place)
    for (layer, part), places in groups.items():
        macs, us = sum(nodes[i].macs for i in places), sum(times[i] for i in places)
        weights, maps = moved(nodes, places)
        least = 1e3 * max(macs / paces.macs, weights / paces.weights + maps / paces.maps)
        yield Part(file, kernel, layer, part, round(us, 1), round(least, 2), macs, weights, maps, len(places))


def moved(nodes: Sequence[FileNode], places: Iterable[int]) -> tuple[int, int]:
    """Return the bytes of weights that these nodes read, and of the maps that they take from others and give to others.

    What no node has written is a weight, but for what the first node reads, the picture.
    """
    inside = set(places)
    written = {name: node.bytes_written for node in nodes for name in node.outputs}
    given = {name for i in inside for name in nodes[i].outputs}
    wanted = {name for i, node in enumerate(nodes) if i not in inside for name in node.inputs}
    taken = {name for i in inside for name in nodes[i].inputs} - given
    maps = sum(written.get(name, 0) for name in (given & wanted) | taken)
    weights = 0
    for i in inside:
        constant = nodes[i].bytes_read - sum(written.get(name, 0) for name in nodes[i].inputs)
        weights, maps = (weights + constant, maps) if i else (weights, maps + constant)
    if len(nodes) - 1 in inside:
        maps += nodes[-1].bytes_written
    return weights, maps


def write_parts(path: Path, found: Iterable[Part]) -> None:
    """Write a row for each part of each layer."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Part)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(asdict, found))


def read_parts(path: Path = DATA) -> list[Part]:
    """Return what ``write_parts`` has written."""
    with path.open(encoding="utf-8") as file:
        return [Part(**{key: NUMBERS.get(key, str)(text) for key, text in row.items()}) for row in csv.DictReader(file)]
