"""A simplified ONNX graph as what it says of itself: shapes, constants, who makes a value and who reads it.

It recognises what ``in_blocks`` moves, and which values are worth it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from dcd_deploy.lowering.channels_first.nchwc import BLOCK, aligned

Shape = tuple[int, ...]
ACTIVATIONS = ("Clip", "Relu")
CHANNELS = 1  # the axis


@dataclass(frozen=True)
class PlainGraph:
    """``shapes`` are those of all values, ``readers`` count how many nodes and outputs read each."""

    nodes: tuple[onnx.NodeProto, ...]
    constants: dict[str, onnx.TensorProto]
    shapes: dict[str, Shape]
    readers: Counter[str]
    makers: dict[str, onnx.NodeProto]

    @classmethod
    def of(cls, model: onnx.ModelProto) -> PlainGraph:
        """Read a model whose shapes can be inferred."""
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        shapes = {value.name: tuple(value.dims) for value in graph.initializer}
        for value in (*graph.input, *graph.output, *graph.value_info):
            shapes[value.name] = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        readers = Counter(name for node in graph.node for name in node.input)
        readers.update(value.name for value in graph.output)
        makers = {name: node for node in graph.node for name in node.output}
        constants = {value.name: value for value in graph.initializer}
        return cls(tuple(graph.node), constants, shapes, readers, makers)

    def constant(self, name: str) -> NDArray[np.generic] | None:
        """Return the values of a constant; None where it is none."""
        return numpy_helper.to_array(self.constants[name]) if name in self.constants else None

    def wanted(self) -> set[str]:
        """Return the maps that a convolution with transposed weights reads, directly or through what can be moved."""
        found: set[str] = set()
        for node in reversed(self.nodes):
            if self.transposed_weights(node) is not None or (node.output[0] in found and self.passes_on(node)):
                found.update(node.input[: 2 if node.op_type == "Add" else 1])
        return found

    def passes_on(self, node: onnx.NodeProto) -> bool:
        """Whether a node works in blocks where its input is in blocks."""
        return (
            node.op_type == "Add"
            or self.is_activation(node)
            or self.is_depthwise(node)
            or self.changes_padding_alone(node)
            or self.regroups_samples(node)
        )

    def transposed_weights(self, node: onnx.NodeProto) -> str | None:
        """Return Wᵀ (n, C, K), if a node convolves by computed weights W (n·K, C, 1, 1) that are made of it."""
        if node.op_type != "Conv" or (shaped := self.makers.get(node.input[1])) is None:
            return None
        turned = self.makers.get(shaped.input[0])
        return turned.input[0] if turned is not None and turned.op_type == "Transpose" else None

    def is_depthwise(self, node: onnx.NodeProto) -> bool:
        """Whether a node convolves each channel by constant weights of its own."""
        if not self.has_constant_weights(node):
            return False
        channels = self.shapes[node.input[0]][CHANNELS]
        return attribute(node, "group", 1) == channels == self.shapes[node.input[1]][0]

    def reads_picture(self, node: onnx.NodeProto) -> bool:
        """Whether a node is a convolution of so few channels that it reads them in the plain layout."""
        if not self.has_constant_weights(node) or attribute(node, "group", 1) != 1:
            return False
        return self.shapes[node.input[1]][CHANNELS] < BLOCK // 2

    def is_activation(self, node: onnx.NodeProto) -> bool:
        """Whether a node is an activation that a convolution can take in, with constant limits if any."""
        return node.op_type in ACTIVATIONS and all(name in self.constants for name in node.input[1:])

    def has_constant_weights(self, node: onnx.NodeProto) -> bool:
        """Whether a node is a convolution with constant weights, and a constant bias or none."""
        return node.op_type == "Conv" and all(name in self.constants for name in node.input[1:])

    def changes_padding_alone(self, node: onnx.NodeProto) -> bool:
        """Whether a node adds or drops the last channels, which blocks have, or lack, anyway."""
        if node.op_type not in ("Pad", "Slice"):
            return False
        (n, before, *size), (m, after, *new) = self.shapes[node.input[0]], self.shapes[node.output[0]]
        if (n, *size) != (m, *new) or aligned(before) != aligned(after):
            return False
        values = [self.constant(name) for name in node.input[1:]]
        if any(value is None for value in values):
            return False
        if node.op_type == "Slice":  # from the first on
            return not np.any(values[0])
        added = np.zeros(8)
        added[4 + CHANNELS] = after - before
        by_zeros = len(values) == 1 or not np.any(values[1])
        return np.array_equal(np.array(values[0]), added) and by_zeros

    def regroups_samples(self, node: onnx.NodeProto) -> bool:
        """Whether a node makes N samples one with N times the channels, or the reverse, in whole blocks."""
        if node.op_type != "Reshape" or len(self.shapes[node.input[0]]) != 4 != len(self.shapes[node.output[0]]):
            return False
        (n, before, *size), (m, after, *new) = self.shapes[node.input[0]], self.shapes[node.output[0]]
        return size == new and n * before == m * after and before % BLOCK == 0 == after % BLOCK


def attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    """Return an attribute that is a number."""
    return next((int(a.i) for a in node.attribute if a.name == name), default)
