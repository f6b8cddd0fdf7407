"""A profile by onnxruntime: its own profiler's times, in whole microseconds, mapped back to the nodes of the file.

onnxruntime's optimiser fuses nodes, and names what it makes: "fused NAME" or "NAME/…Fusion" after a node,
"NAME_nchwc" after the output of the last node that went in. What else of the file is missing in the profile is counted
where its output goes, so that the multiply-adds of all nodes are somewhere. A node made of several gets layer and part
of the one with the most.

ReorderInput and ReorderOutput, from and to the blocked layout of its convolutions, bear no names. They are layout
conversions; by the order of execution, ReorderInput is counted to the layer of the next node that has a name, and
ReorderOutput, like anything else without one, to that of the node before.
"""

from __future__ import annotations

import json
import math
import re
import tempfile
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dcd_deploy.benchmarks.profile import ProfiledNode
from dcd_deploy.runtimes.nodes import LAYOUT, MOVES, UNKNOWN, FileNode
from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession
from dcd_deploy.runtimes.session import Input

KERNEL = "_kernel_time"
FUSED, BLOCKED = "fused ", "_nchwc"
TO_THE_NEXT = "ReorderInput"
FUSION = re.compile(r"/\w+Fusion/?$")  # "x/mul/QuickGeluFusion/", made of x/mul and what it reads
ITEM_BYTES = {"float": 4, "int32": 4, "uint32": 4, "float16": 2, "bfloat16": 2, "int16": 2, "uint16": 2}
ONE_BYTE = ("int8", "uint8", "bool")
Event = dict[str, Any]
Key = tuple[str, int]  # a name, and which of that name in one run


class OnnxRuntimeProfile:
    """A session with the profiler on, and its file in a folder of its own."""

    def __init__(self, path: Path, nodes: Sequence[FileNode], inputs: Sequence[Input], threads: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="dcd-deploy-")
        prefix = Path(self._folder.name) / "profile"
        try:
            self._session = OnnxRuntimeSession(path, threads, profile_prefix=str(prefix))
        except BaseException:
            self._folder.cleanup()
            raise
        self._run = self._session.prepare(*inputs)
        self._nodes = nodes
        self._counted: list[bool] = []

    def run(self, *, counted: bool) -> None:
        """Run once; the profiler writes down every run, and which of them count is remembered."""
        self._counted.append(counted)
        self._run()

    def finish(self) -> tuple[ProfiledNode, ...]:
        """End the profile and read it."""
        events = json.loads(Path(self._session.end_profiling()).read_text(encoding="utf-8"))
        runs = [run for run, counted in zip(runs_of(events), self._counted, strict=True) if counted]
        return with_neighbours(profiled_nodes(runs, self._nodes))

    def close(self) -> None:
        """Remove the profile's file."""
        self._folder.cleanup()


def runs_of(events: Iterable[Event]) -> list[list[Event]]:
    """Return the events of the kernels of each run, in the order of execution."""
    events = sorted(events, key=lambda event: event.get("ts", 0))
    starts = [event["ts"] for event in events if event.get("name") == "model_run"]
    runs: list[list[Event]] = [[] for _ in starts]
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(KERNEL):
            runs[bisect_right(starts, event["ts"]) - 1].append(event)
    return runs


def profiled_nodes(runs: Sequence[Sequence[Event]], nodes: Sequence[FileNode]) -> list[ProfiledNode]:
    """Return a node for each kernel, with its median over the runs and what it is in the file."""
    times: dict[Key, list[float]] = defaultdict(list)
    first: dict[Key, Event] = {}
    for run in runs:
        seen: Counter[str] = Counter()
        for event in run:
            name = event["name"].removesuffix(KERNEL)
            key = (name, seen[name])
            seen[name] += 1
            first.setdefault(key, event)
            times[key].append(event["dur"] / 1000)
    origins = origins_of([name for name, _ in first], nodes)
    taken: set[str] = set()
    found = []
    for key, event in first.items():
        made_of = [] if key[0] in taken else origins.get(key[0], [])
        taken.add(key[0])
        found.append(_node(key[0], event, float(np.median(times[key])), made_of))
    return found


def origins_of(names: Iterable[str], nodes: Sequence[FileNode]) -> dict[str, list[FileNode]]:
    """Return of which nodes of the file each name of the profile is made, its namesake first."""
    by_name = {node.name: node for node in nodes if node.name}
    by_output = {output: node for node in nodes for output in node.outputs}
    readers: dict[str, FileNode] = {}
    for node in reversed(nodes):
        readers |= dict.fromkeys(node.inputs, node)
    namesakes: dict[int, str] = {}
    for name in names:
        file_name = FUSION.sub("", name.removeprefix(FUSED).removesuffix(BLOCKED))
        namesake = (by_output if name.endswith(BLOCKED) else by_name).get(file_name)
        if namesake is not None:
            namesakes[id(namesake)] = name
    origins: dict[str, list[FileNode]] = {name: [] for name in namesakes.values()}
    for node in nodes:
        last: FileNode | None = node
        while last is not None and id(last) not in namesakes:
            last = next((readers[output] for output in last.outputs if output in readers), None)
        if last is not None:
            origins[namesakes[id(last)]].insert(0 if last is node else len(nodes), node)
    return origins


def _node(name: str, event: Event, median_ms: float, made_of: Sequence[FileNode]) -> ProfiledNode:
    arguments = event["args"]
    operator = str(arguments.get("op_name", ""))
    main = max(made_of, key=lambda node: node.macs, default=None)
    part = main.part if main else LAYOUT if operator.lower() in MOVES else UNKNOWN
    return ProfiledNode(
        name=name,
        operator=operator,
        layer=main.layer if main else "",
        part=part,
        median_ms=median_ms,
        macs=sum(node.macs for node in made_of),
        bytes_read=_bytes(arguments.get("input_type_shape", [])),
        bytes_written=_bytes(arguments.get("output_type_shape", [])),
    )


def with_neighbours(nodes: Sequence[ProfiledNode]) -> tuple[ProfiledNode, ...]:
    """Give the nodes that bear no layer that of a neighbour in the order of execution."""
    before = _nearest(nodes)
    after = _nearest(nodes[::-1])[::-1]
    return tuple(
        node if node.layer else replace(node, layer=(later or earlier) if node.operator == TO_THE_NEXT else earlier)
        for node, earlier, later in zip(nodes, before, after, strict=True)
    )


def _nearest(nodes: Iterable[ProfiledNode]) -> list[str]:
    """Return the layer of the last node with one, up to each node."""
    layers, last = [], ""
    for node in nodes:
        last = node.layer or last
        layers.append(last)
    return layers


def _bytes(tensors: Iterable[dict[str, list[int]]]) -> int:
    return sum(
        math.prod(shape) * (1 if type_ in ONE_BYTE else ITEM_BYTES.get(type_, 8))
        for tensor in tensors
        for type_, shape in tensor.items()
    )
