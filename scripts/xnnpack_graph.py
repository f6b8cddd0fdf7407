"""The operators of an ExecuTorch program for XNNPACK, with their sizes; a program names neither operators nor layers.

``layered`` names each after the layer of a TFLite file of the same network: a layer begins with the operator that is as
large as that layer's first, and within a dynamic layer shapes say what is what.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dcd_deploy.export.executorch.graph import PartGraph, PartNode, read_part
from dcd_deploy.runtimes.nodes import STATIC, FileNode
from dcd_deploy.runtimes.pte_file import read_program

POOLING = "AVERAGE_POOL_2D"
KINDS = {  # XNNPACK's kind → TFLite's, the fields of its inputs, that of its output
    "Add": ("ADD", (0, 1), 2),
    "AvgPooling2d": (POOLING, (10,), 11),
    "BatchMatrixMultiply": ("BATCH_MATMUL", (0, 1), 2),
    "Clamp": ("RELU6", (0,), 1),
    "Conv2d": ("CONV_2D", (15, 16, 17), 18),
    "DepthwiseConv2d": ("DEPTHWISE_CONV_2D", (15, 16, 17), 18),
    "Div": ("DIV", (0, 1), 2),
    "FullyConnected": ("FULLY_CONNECTED", (0, 1, 2), 3),
    "GlobalAvgPooling2d": ("MEAN", (0,), 1),
    "Multiply": ("MUL", (0, 1), 2),
    "Sigmoid": ("LOGISTIC", (0,), 1),
    "Softmax": ("SOFTMAX", (0,), 1),
    "StaticReshape": ("RESHAPE", (2,), 3),
    "StaticTranspose": ("TRANSPOSE", (2,), 3),
}
NO_VALUE = 2**32 - 1
FLOAT_BYTES = 4

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Operator:
    """An operator: its name in TFLite, the ids and shapes of what it reads and writes, which of them are weights.

    ``activated`` says whether its outputs are held between limits, as by a ReLU6.
    """

    kind: str
    inputs: tuple[int, ...]
    output: int
    shapes: tuple[Shape, ...]
    written: Shape
    constants: frozenset[int]
    macs: int
    activated: bool

    @property
    def computed(self) -> frozenset[int]:
        """The inputs that are no weights."""
        return frozenset(self.inputs) - self.constants

    def named(self, name: str) -> FileNode:
        """Return it as a node of a file; its inputs are those that are computed."""
        read, written = (FLOAT_BYTES * sum(map(math.prod, shapes)) for shapes in (self.shapes, [self.written]))
        inputs, outputs = tuple(map(str, self.computed)), (str(self.output),)
        return FileNode(name, self.kind, inputs, outputs, self.macs, read, written, self.activated)


def operators(path: Path) -> list[Operator]:
    """Return the operators of the one partition of a program, in order.

    Raises:
        KeyError: it has an operator that ``KINDS`` does not know.
    """
    content = path.read_bytes()
    (delegate,) = read_program(content, path).delegates
    graph = read_part(content, delegate)
    return [_operator(node, graph) for node in graph.nodes]


def _operator(node: PartNode, graph: PartGraph) -> Operator:
    kind, fields, written = KINDS[node.kind]
    inputs = tuple(number for field in fields if (number := node.settings.number(field)) != NO_VALUE)
    output, shapes = node.settings.number(written), tuple(graph.sizes[number] for number in inputs)
    constants = graph.constants & set(inputs)
    return Operator(kind, inputs, output, shapes, graph.sizes[output], constants, node.macs, node.clamped)


def layered(found: Sequence[Operator], like: Sequence[FileNode]) -> list[FileNode]:
    """Return the operators under the layers of a TFLite file, of which ``like`` has each layer's first node of note."""
    groups: list[tuple[FileNode | None, list[Operator]]] = [(None, [])]
    waiting = list(like)
    for operator in found:
        if waiting and (operator.kind == POOLING, operator.macs) == _beginning(waiting[0]):
            groups.append((waiting.pop(0), []))
        groups[-1][1].append(operator)
    if waiting:
        raise ValueError(f"no operator as the first of {waiting[0].layer}")
    return [node for first, group in groups for node in _inside(first, group)]


def _beginning(first: FileNode) -> tuple[bool, int]:
    return first.operator == POOLING, first.macs


def _inside(first: FileNode | None, group: list[Operator]) -> Iterator[FileNode]:
    layer = first.layer if first else "input"
    for place, each in enumerate(group):
        inside = "static" if first is None or first.part == STATIC else _of_dynamic(each, group)
        yield each.named(f"{layer}/{inside}/{each.kind.lower().replace('_', '')}_{place + 1}")


def _of_dynamic(operator: Operator, layer: Sequence[Operator]) -> str:
    """Return what an operator of a dynamic layer belongs to: a row of values to the attention, a matrix to a kernel."""
    written = operator.written
    if operator.kind == "ADD" and len(written) == 4 and not operator.computed <= {each.output for each in layer}:
        return "residual"
    if operator is max(layer, key=lambda each: each.macs):
        return "static"
    if operator.kind == POOLING:
        return "attention"
    if math.prod(written) == written[-1]:
        return "attention"
    return "dynamic" if operator.kind == "BATCH_MATMUL" or len(written) >= 4 else "kernel"
