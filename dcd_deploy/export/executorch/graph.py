"""What an ExecuTorch program consists of: the operators of its XNNPACK parts, read from the file without its packages.

A part is a flatbuffer behind a header ("XH00"), of nodes and of values, whose sizes are as they lie in memory. Its
schema is not published apart from the package; the numbers here are those of 1.5, and unknown ones have no name.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dcd_deploy.artifacts import METADATA_KEY, ModelCard, TensorSpec
from dcd_deploy.card_json import read_card
from dcd_deploy.errors import ModelFileError
from dcd_deploy.export.accelerators import Accelerator, breakers
from dcd_deploy.export.stats import GraphStats
from dcd_deploy.files import existing_file
from dcd_deploy.runtimes.flatbuffer import Table
from dcd_deploy.runtimes.pte_file import HASH_KEY, Delegate, PteProgram, read_program

XNNPACK, HEADER = "XnnpackBackend", b"XH00"
GRAPH_NODES, GRAPH_VALUES, NODE_LIMITS = 1, 2, 3
TENSOR_SIZES, TENSOR_DATA, TENSOR_ID = 2, 3, 6
QUANTISED = 2  # the kind of a value that holds a plain one
KINDS = dict(
    enumerate(
        (
            *("Add", "FullyConnected", "Softmax", "Sigmoid", "StaticTranspose", "Clamp", "Conv2d", "Div"),
            *("StaticResizeBilinear2D", "StaticConstantPad", "AvgPooling2d", "Minimum", "DepthwiseConv2d"),
            *("MaxPooling2d", "Multiply", "Subtract", "Floor", "Convert", "GlobalAvgPooling2d", "StaticReshape"),
            *("ArgMaxPooling2d", "SquareRoot", "Ceiling", "Hardswish", "LeakyReLU", "Maximum", "Negate", "Square"),
            *("ELU", "Abs", "PReLU", "Concatenate2", "Concatenate3", "Concatenate4", "StaticSlice"),
            *("ScaledDotProductAttention", "BatchMatrixMultiply", "Concatenate5", "ConvTranspose2d"),
            *("ReciprocalSquareRoot", "Log", "Gelu", "Tanh", "Exp", "Sin", "Copy", "Cos"),
        ),
        start=1,
    )
)
# the places of the weight and of the output, and how many of the weight's last axes each output is a sum over
WEIGHTED = {"FullyConnected": (1, 3, 1), "Conv2d": (16, 18, 3), "DepthwiseConv2d": (16, 18, 3)}
PRODUCT = "BatchMatrixMultiply"


@dataclass(frozen=True)
class PteFileSummary:
    """What an ExecuTorch program says about itself; ``card`` where it is one of ours."""

    path: Path
    program: PteProgram
    graph: GraphStats
    metadata: dict[str, str]
    card: ModelCard | None

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs."""
        return self.program.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs."""
        return self.program.outputs


def summarise_pte(path: Path) -> PteFileSummary:
    """Read an ExecuTorch program, without its packages.

    Raises:
        InputFileError: there is no such file.
        ModelFileError: it is none, or damaged.
    """
    content = existing_file(path, "an ExecuTorch program").read_bytes()
    program = read_program(content, path)
    text = program.texts.get(METADATA_KEY)
    others = {key: text for key, text in program.texts.items() if key not in (METADATA_KEY, HASH_KEY)}
    return PteFileSummary(path, program, pte_stats(content, path), others, None if text is None else read_card(text))


def pte_accelerators(path: Path) -> tuple[Accelerator, ...]:
    """Return XNNPACK's parts of an ExecuTorch program."""
    summary = summarise_pte(path)
    outside = summary.program.outside
    parts = [each for each in summary.program.delegates if each.backend == XNNPACK]
    left = breakers((name, "left to ExecuTorch's own kernels at export", name) for name in outside)
    nodes = summary.graph.nodes
    return (Accelerator("XNNPACK", "as it was divided at export", nodes, nodes - len(outside), len(parts), left),)


def pte_stats(content: bytes, where: str | Path = "the exported program") -> GraphStats:
    """Count the operators, bytes and multiply-adds (for one sample) of an ExecuTorch program.

    Raises:
        ModelFileError: it is none, or damaged.
    """
    program = read_program(content, where)
    operators = Counter(program.outside)
    macs = 0
    for delegate in program.delegates:
        if delegate.backend != XNNPACK:
            operators[delegate.backend] += 1
            continue
        try:
            nodes = read_part(content, delegate).nodes
        except (struct.error, IndexError, KeyError, ValueError) as error:
            raise ModelFileError(
                f"expected an ExecuTorch program at '{where}', but its part for XNNPACK is damaged ({error}); export "
                "it again"
            ) from error
        operators.update(node.kind for node in nodes)
        macs += sum(node.macs for node in nodes)
    ordered = dict(sorted(operators.items(), key=lambda item: (-item[1], item[0])))
    return GraphStats(operators.total(), ordered, len(content), macs // (program.inputs[0].shape[0] or 1))


@dataclass(frozen=True)
class PartNode:
    """A node of a part: its kind in the schema, its settings there, its multiply-adds, whether a clamp is fused."""

    kind: str
    settings: Table
    macs: int
    clamped: bool


@dataclass(frozen=True)
class PartGraph:
    """A part: its nodes in order, and of its values by their ids the sizes, and which are weights."""

    nodes: tuple[PartNode, ...]
    sizes: Mapping[int, tuple[int, ...]]
    constants: frozenset[int]


def read_part(content: bytes, delegate: Delegate) -> PartGraph:
    """Return the graph of XNNPACK's part of a program.

    Raises:
        struct.error, IndexError, KeyError, ValueError: it is damaged.
    """
    part = content[delegate.start : delegate.start + delegate.size]
    if part[4:8] != HEADER:
        raise ValueError("no header")
    start, size = struct.unpack_from("<II", part, 10)
    root = Table.root(part[start : start + size])
    values = [_tensor(value) for value in root.tables(GRAPH_VALUES)]
    sizes = {value.number(TENSOR_ID): value.numbers(TENSOR_SIZES) for value in values}
    constants = frozenset(value.number(TENSOR_ID) for value in values if value.number(TENSOR_DATA))
    return PartGraph(tuple(_node(node, sizes) for node in root.tables(GRAPH_NODES)), sizes, constants)


def _node(node: Table, sizes: Mapping[int, tuple[int, ...]]) -> PartNode:
    number, table = node.number(0, "B"), node.table(1)
    if table is None:
        raise ValueError("a node without its settings")
    name = KINDS.get(number, f"operator {number}")
    return PartNode(name, table, _macs(table, name, sizes), node.table(NODE_LIMITS) is not None)


def _macs(table: Table, name: str, sizes: Mapping[int, tuple[int, ...]]) -> int:
    if name == PRODUCT:
        left, out = sizes[table.number(0)], sizes[table.number(2)]
        return math.prod(out) * left[-1]
    if name not in WEIGHTED:
        return 0
    weight_at, output_at, summed = WEIGHTED[name]
    weight, out = sizes[table.number(weight_at)], sizes[table.number(output_at)]
    each = math.prod(weight[1:3]) if name == "DepthwiseConv2d" else math.prod(weight[-summed:])
    return math.prod(out) * each


def _tensor(value: Table) -> Table:
    tensor = value.table(1)
    if tensor is not None and value.number(0, "B") == QUANTISED:
        tensor = tensor.table(0)
    if tensor is None:
        raise ValueError("a value without its sizes")
    return tensor
