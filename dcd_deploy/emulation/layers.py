"""What each layer makes a core do: onnxruntime's own profiler says which node begins and ends when, the plugin counts.

The profiler reads the clock at the start and at the end of every node. Under emulation that is a system call, which
the counting plugin sees; so the counts between two of them are those of a node, in the order of the profile:

    mark  ·  ·  ·  [node 1]  ·  [node 2]  ·  …  [node N]  ·  ·  mark        "·" is onnxruntime between the nodes

How many readings come before the first node is its own affair. Only one place for the first node can be right: all
multiply-adds lie within nodes, and none within nodes that move data.

The profiler notes down what it knows of a node before it reads the clock again, some 27 000 instructions. Of each node
the least that any node took is subtracted, count by count; what remains of the profiler is some hundreds to thousands
of instructions a node.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path

from dcd_deploy.benchmarks.counts import Counts
from dcd_deploy.benchmarks.profile import ProfiledNode
from dcd_deploy.benchmarks.profile_onnxruntime import Event, profiled_nodes, runs_of, with_neighbours
from dcd_deploy.benchmarks.worker import network_name
from dcd_deploy.emulation.cores import Core
from dcd_deploy.emulation.counting import assumptions, count_runs, inputs_of
from dcd_deploy.emulation.guest import opened_guest
from dcd_deploy.emulation.plugin import NODE, RUN, arguments, read_counts
from dcd_deploy.emulation.programs import qemu_version
from dcd_deploy.emulation.root import installed_root
from dcd_deploy.errors import DeviceAnswerError
from dcd_deploy.files import suffix_of, unknown_model_file
from dcd_deploy.progress import Progress, silent
from dcd_deploy.runtimes.isolated import isolated_model
from dcd_deploy.runtimes.nodes import FileNode
from dcd_deploy.runtimes.session import Input

KIND, SCHEMA = "dcd-deploy layer counts", 2
RUNTIME = "onnxruntime"
MOVERS = frozenset({"Concat", "Flatten", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"})
SUBTRACTED = "of each node the least that any node took is subtracted: it is the runtime's profiler, which was on"
MOST_BEFORE = 16  # readings of the clock before the first node
NOTHING = Counts(*[0] * len(astuple(Counts(0, 0, 0, 0, 0, 0, 0, 0, 0))))


@dataclass(frozen=True)
class CountedNode:
    """A node as the runtime ran it; ``layer`` and ``part`` are as in a profile of times."""

    name: str
    operator: str
    layer: str
    part: str
    counts: Counts


@dataclass(frozen=True)
class LayerCounts:
    """The nodes of one run in their order; ``whole`` is a run without the profiler."""

    model: str
    network: str | None  # as of timed profiles
    core: str
    runtime: str
    runtime_version: str
    qemu: str
    nodes: tuple[CountedNode, ...]
    whole: Counts
    assumptions: tuple[str, ...]
    kind: str = field(default=KIND)
    schema: int = SCHEMA

    def by_layer(self) -> dict[str, dict[str, Counts]]:
        """Return the counts of each layer by part, in the order in which the layers first ran."""
        return {layer: summed(nodes, lambda node: node.part) for layer, nodes in self._layers().items()}

    def by_part(self) -> dict[str, Counts]:
        """Return the counts of each part of the network."""
        return summed(self.nodes, lambda node: node.part)

    def total(self) -> Counts:
        """Return the counts of all nodes."""
        return added(*(node.counts for node in self.nodes))

    def _layers(self) -> dict[str, list[CountedNode]]:
        found: dict[str, list[CountedNode]] = {}
        for node in self.nodes:
            found.setdefault(node.layer, []).append(node)
        return found


def summed(nodes: Iterable[CountedNode], key: Callable[[CountedNode], str]) -> dict[str, Counts]:
    """Add up the counts of the nodes of each key."""
    found: dict[str, Counts] = {}
    for node in nodes:
        found[key(node)] = added(found.get(key(node), NOTHING), node.counts)
    return found


def added(*counts: Counts) -> Counts:
    """Return the sum."""
    return Counts(*map(sum, zip(*map(astuple, counts), strict=True)))


def count_layers(path: Path, file_nodes: Sequence[FileNode], core: Core, progress: Progress = silent) -> LayerCounts:
    """Count an ONNX model whose file has these nodes, layer by layer.

    Raises:
        UnknownNameError: a file of another kind; LiteRT's profiler cannot be followed so.
        DeviceLackError: emulation is not set up here, or this version of QEMU cannot count.
        DeviceAnswerError: the runtime's profile and the counts cannot be brought together.
    """
    if suffix_of(path) != ".onnx":
        raise unknown_model_file(path, (".onnx",), "kind of model file to count by layer")
    with progress(f"count {RUNTIME} on {core.name}"):
        with isolated_model(path, threads=1, runtime=RUNTIME) as model:
            network = network_name(model.card)
        whole, version = count_runs(path, RUNTIME, core, _inputs(path), 1)
    with progress(f"count its nodes on {core.name}"):
        events, ticks = _profiled(path, core)
    nodes = with_neighbours(profiled_nodes([events], file_nodes))
    counts = without_profiler(node_counts(events, ticks))
    counted = tuple(_node(node, found) for node, found in zip(nodes, counts, strict=True))
    stated = (*assumptions([core]), SUBTRACTED)
    return LayerCounts(str(path), network, core.name, RUNTIME, version, qemu_version(), counted, whole[0], stated)


def node_counts(events: Sequence[Event], ticks: Sequence[Counts]) -> list[Counts]:
    """Return the counts of each node of a profile, of all the counts between readings of the clock.

    Raises:
        DeviceAnswerError: there is no place, or more than one, for the first node.
    """
    fits = []
    for before in range(1, MOST_BEFORE):
        found = list(ticks[before : before + 2 * len(events) : 2])
        if len(found) == len(events) and _fits(events, found, ticks):
            fits.append(found)
    if len(fits) != 1:
        raise DeviceAnswerError(
            expected=(
                f"one way to bring {len(events)} nodes of onnxruntime's profile and {len(ticks)} readings of "
                "its clock together"
            ),
            found=len(fits),
            advice=(
                "layers can be counted with QEMU below 8.2, onnxruntime 1.32 and networks of more than a few nodes"
            ),
        )
    return fits[0]


def without_profiler(found: Sequence[Counts]) -> list[Counts]:
    """Return the counts of nodes less what the profiler itself does in each."""
    least = [min(values) for values in zip(*map(astuple, found), strict=True)]
    return [Counts(*(value - low for value, low in zip(astuple(counts), least, strict=True))) for counts in found]


def _fits(events: Sequence[Event], found: Sequence[Counts], ticks: Sequence[Counts]) -> bool:
    moved = sum(counts.fmla for event, counts in zip(events, found, strict=True) if _operator(event) in MOVERS)
    return moved == 0 and 0 < sum(counts.fmla for counts in ticks) == sum(counts.fmla for counts in found)


def _operator(event: Event) -> str:
    return str(event["args"].get("op_name", ""))


def _profiled(path: Path, core: Core) -> tuple[list[Event], list[Counts]]:
    """Return the profile's events of one run, and the counts between the readings of the clock in it."""
    with tempfile.TemporaryDirectory(prefix="dcd-deploy-") as folder:
        out = Path(folder) / "counts.txt"
        plugin = arguments(core, out, ticks=True)
        with opened_guest(installed_root(), core, f"{RUNTIME}-profiled", path, plugin) as guest:
            guest.count(_inputs(path), 1)
            events = guest.profile()
        lines = read_counts(out.read_text(encoding="ascii", errors="replace"))
    ends = [i for i, (kind, _) in enumerate(lines) if kind == RUN]
    try:
        last = runs_of(events)[-1]
        ticks = [counts for kind, counts in lines[ends[0] + 1 : ends[1]] if kind == NODE]
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        raise DeviceAnswerError(expected="onnxruntime's profile of a run", found=f"another ({error})") from error
    return last, ticks


def _inputs(path: Path) -> tuple[Input, ...]:
    with isolated_model(path, threads=1, runtime=RUNTIME) as model:
        return inputs_of(model)


def _node(node: ProfiledNode, counts: Counts) -> CountedNode:
    return CountedNode(node.name, node.operator, node.layer, node.part, counts)
