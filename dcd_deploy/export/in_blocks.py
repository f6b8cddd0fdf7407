"""Move convolutions with computed weights into onnxruntime's blocks of channels (NCHWc), with what lies between them.

On x86 onnxruntime's optimiser moves convolutions there by itself, if their weights are constant. This pass does the
same for the dynamic layers of form ``nchwc``, in the runtime's own operators (domain com.microsoft.nchwc), and takes
along what stands between two of them: depthwise layers, activations, sums, pooling, and the first layer, which reads
the picture. What is left is the optimiser's own.

A block is 8 channels on a machine with AVX2 and 16 with AVX-512. One file serves both: it leaves all ordering of
weights to the runtime's ReorderInput, which knows the machine. From a map to blocks is

    [n][channel][pixel] → [n][channel / B][pixel][channel % B]

and the weights of a 1×1 or depthwise layer are ordered just so, when its outputs are taken for channels and all else
for pixels. Maps in blocks have channels in multiples of 16, filled up by zeros.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from dcd_deploy.models.deploy.channels_first.nchwc import BLOCK, aligned

DOMAIN = "com.microsoft.nchwc"
Shape = tuple[int, ...]


def in_blocks(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """Return a copy of a simplified model whose layers of form ``nchwc`` work in blocks; None where there are none.

    The form is told by its weights, which are computed, and arrive transposed. The batch size is fixed.
    """
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    writer = _Writer.reading(graph)
    if not writer.wanted:
        return None
    for node in graph.node:
        writer.take(node)
    for output in graph.output:
        writer.plain(output.name)
    moved = onnx.ModelProto()
    moved.CopyFrom(model)
    del moved.graph.node[:], moved.graph.initializer[:], moved.graph.value_info[:]
    moved.graph.node.extend(_needed(writer.nodes, [value.name for value in graph.output]))
    read = {name for node in moved.graph.node for name in node.input}
    moved.graph.initializer.extend(value for name, value in writer.constants.items() if name in read)
    made = [name for node in moved.graph.node if node.domain == DOMAIN for name in node.output]  # nobody infers these
    moved.graph.value_info.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, writer.shapes[name]) for name in made
    )
    moved.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    onnx.checker.check_model(moved)
    return moved


@dataclass
class _Writer:
    """Writes the nodes anew, each value in blocks, in the plain layout, or, where both are read, in both.

    ``blocks`` has the values that are known in blocks, by their plain names; ``missing`` those that are known in blocks
    alone; ``maker`` the convolution whose whole use a value in blocks is, into which more can be fused.
    """

    constants: dict[str, onnx.TensorProto]
    shapes: dict[str, Shape]
    readers: Counter[str]
    makers: dict[str, onnx.NodeProto]
    wanted: set[str]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    blocks: dict[str, str] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    maker: dict[str, onnx.NodeProto] = field(default_factory=dict)
    names: Counter[str] = field(default_factory=Counter)

    @property
    def written(self) -> list[str]:
        """The values that are there, in their order."""
        return [name for node in self.nodes for name in node.output]

    @classmethod
    def reading(cls, graph: onnx.GraphProto) -> _Writer:
        """Return a writer for a graph with shapes."""
        shapes = {value.name: tuple(value.dims) for value in graph.initializer}
        for value in (*graph.input, *graph.output, *graph.value_info):
            shapes[value.name] = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        readers = Counter(name for node in graph.node for name in node.input)
        readers.update(value.name for value in graph.output)
        makers = {name: node for node in graph.node for name in node.output}
        constants = {value.name: value for value in graph.initializer}
        writer = cls(constants, shapes, readers, makers, set())
        for node in reversed(graph.node):
            writer.want(node)
        return writer

    # What is worth moving

    def want(self, node: onnx.NodeProto) -> None:
        """Remember which maps a dynamic layer reads in blocks, directly or through what can be moved too."""
        moves = node.op_type in ("Clip", "Relu", "Pad", "Slice", "Reshape", "Add") or self.is_depthwise(node)
        if self.transposed_weights(node) is not None or (moves and node.output[0] in self.wanted):
            self.wanted.update(node.input[: 2 if node.op_type == "Add" else 1])

    def transposed_weights(self, node: onnx.NodeProto) -> str | None:
        """Return Wᵀ (n, C, K), if the node convolves by W (n·K, C, 1, 1) that is computed, and made of it."""
        if node.op_type != "Conv" or (shaped := self.makers.get(node.input[1])) is None:
            return None
        turned = self.makers.get(shaped.input[0])
        return turned.input[0] if turned is not None and turned.op_type == "Transpose" else None

    def is_depthwise(self, node: onnx.NodeProto) -> bool:
        """Whether a node convolves each channel by constant weights of its own."""
        return self.has_constant_weights(node) and attribute(node, "group", 1) == self.shapes[node.input[0]][1]

    def reads_picture(self, node: onnx.NodeProto) -> bool:
        """Whether a node is a convolution of so few channels that it reads them in the plain layout."""
        return self.has_constant_weights(node) and self.shapes[node.input[1]][1] < BLOCK // 2 and (
            attribute(node, "group", 1) == 1
        )

    def has_constant_weights(self, node: onnx.NodeProto) -> bool:
        """Whether a node is a convolution with constant weights, and a constant bias or none."""
        return node.op_type == "Conv" and all(name in self.constants for name in node.input[1:])

    # One node after the other

    def take(self, node: onnx.NodeProto) -> None:
        """Write a node of the plain graph, moved into blocks if it can be and its input is there."""
        inside = [name for name in node.input if name in self.blocks]
        if (turned := self.transposed_weights(node)) is not None:
            self.dynamic_convolution(node, turned)
        elif self.is_depthwise(node) and (inside or node.output[0] in self.wanted):
            channels = aligned(self.shapes[node.input[1]][0])
            self.constant_convolution(node, self.in_blocks(node, node.input[0]), channels)
        elif self.reads_picture(node) and node.output[0] in self.wanted:
            self.constant_convolution(node, self.plain(node.input[0]), 1)
        elif node.op_type in ("Clip", "Relu") and inside and self.fuses(node.input[0]):
            self.activation(node)
        elif node.op_type == "Add" and len(inside) == 2:
            self.sum(node)
        elif node.op_type in ("Pad", "Slice") and inside and self.changes_padding_alone(node):
            self.same(node.output[0], node.input[0])
        elif node.op_type == "Reshape" and inside and self.regroups_samples(node):
            self.regrouped(node)
        elif node.op_type == "AveragePool" and (inside or node.input[0] in self.wanted):
            self.average(node)
        else:
            for name in inside:
                self.plain(name)
            self.nodes.append(node)

    def dynamic_convolution(self, node: onnx.NodeProto, turned: str) -> None:
        """Convolve in blocks by computed weights, which the runtime orders from rows of K."""
        n, inputs, outputs = self.shapes[turned]
        before = self.makers[turned]
        source = before.input[0] if before.op_type == "Unsqueeze" else turned
        rows = self.reshaped(node, source, (n, inputs, 1, outputs))
        ordered = self.add(node, "ReorderInput", [rows], (n, outputs, inputs, 1), channels_last=1)
        weights = self.reshaped(node, ordered, (n * outputs, inputs, 1, 1))
        self.convolution(node, self.in_blocks(node, node.input[0]), weights, node.input[2], n * outputs)

    def constant_convolution(self, node: onnx.NodeProto, x: str, groups: int) -> None:
        """Convolve in blocks by constant weights, a filter for each output."""
        weight, *bias = (numpy_helper.to_array(self.constants[name]) for name in node.input[1:])
        outputs, inputs, *kernel = weight.shape
        wide = aligned(outputs)
        shift = np.pad(bias[0], (0, wide - outputs)) if bias else np.zeros(wide, np.float32)
        padded = np.pad(weight, ((0, wide - outputs), (0, 0), (0, 0), (0, 0)))
        pixels = (1, wide, inputs * kernel[0], kernel[1])
        ordered = self.add(node, "ReorderInput", [self.floats(node.input[1], padded.reshape(pixels))], pixels)
        weights = self.reshaped(node, ordered, (wide, inputs, *kernel))
        self.convolution(node, x, weights, self.floats(f"{node.output[0]}.bias", shift), wide, group=groups)

    def convolution(
        self, node: onnx.NodeProto, x: str, weights: str, bias: str, channels: int, **changed: int
    ) -> None:
        """Write the convolution in blocks; its output stands in for that of ``node``."""
        output = f"{node.output[0]}.blocks"
        made = helper.make_node("Conv", [x, weights, bias], [output], node.name, domain=DOMAIN)
        made.attribute.extend(a for a in node.attribute if a.name not in changed)
        made.attribute.extend(helper.make_attribute(name, value) for name, value in changed.items())
        self.nodes.append(made)
        n, _, *size = self.shapes[node.output[0]]
        self.moved(node.output[0], output, (n, channels, *size))
        self.maker[output] = made

    def activation(self, node: onnx.NodeProto) -> None:
        """Make an activation part of the convolution before it."""
        made = self.maker[self.blocks[node.input[0]]]
        made.attribute.append(helper.make_attribute("activation", node.op_type))
        if node.op_type == "Clip":
            limits = [float(numpy_helper.to_array(self.constants[name])) for name in node.input[1:]]
            made.attribute.append(helper.make_attribute("activation_params", limits))
        self.same(node.output[0], node.input[0])
        del self.maker[self.blocks[node.input[0]]]

    def sum(self, node: onnx.NodeProto) -> None:
        """Add within the convolution that makes the later of the summands, or else by itself."""
        first, last = sorted(node.input, key=lambda name: self.written.index(self.blocks[name]))
        summands = [self.blocks[first], self.blocks[last]]
        shape = self.shapes[summands[0]]
        made = self.maker.get(summands[1])
        if made is not None and self.fuses(last) and self.shapes[made.output[0]] == shape:
            made.input.append(summands[0])
            self.same(node.output[0], last)
        else:
            self.moved(node.output[0], self.add(node, "Add", summands, shape), shape)

    def regrouped(self, node: onnx.NodeProto) -> None:
        """Make N samples one with N times the channels, or the reverse, which leaves blocks where they are."""
        before, shape = self.blocks[node.input[0]], self.shapes[node.output[0]]
        self.moved(node.output[0], self.reshaped(node, before, shape), shape)
        if before in self.maker and self.readers[node.input[0]] == 1:
            self.maker[self.blocks[node.output[0]]] = self.maker[before]

    def average(self, node: onnx.NodeProto) -> None:
        """Average in blocks; the few values that come out go on in the plain layout."""
        n, channels, *size = self.shapes[node.output[0]]
        whole = size == [1, 1] and channels == aligned(channels)  # one pixel has the same order in both layouts
        output = node.output[0] if whole else f"{node.output[0]}.blocks"
        pooled = helper.make_node("AveragePool", [self.in_blocks(node, node.input[0])], [output], node.name, domain=DOMAIN)
        pooled.attribute.extend(node.attribute)
        self.nodes.append(pooled)
        if not whole:
            self.moved(node.output[0], output, (n, aligned(channels), *size))

    # Values

    def fuses(self, name: str) -> bool:
        """Whether a value in blocks is a convolution's output that nothing else reads."""
        return self.blocks.get(name) in self.maker and self.readers[name] == 1

    def changes_padding_alone(self, node: onnx.NodeProto) -> bool:
        """Whether a node adds or drops channels that blocks have, or lack, anyway."""
        (n, before, *size), (m, after, *new) = self.shapes[node.input[0]], self.shapes[node.output[0]]
        return (n, *size) == (m, *new) and aligned(before) == aligned(after)

    def regroups_samples(self, node: onnx.NodeProto) -> bool:
        """Whether a node only moves channels, in whole blocks, between samples."""
        (n, before, *size), (m, after, *new) = self.shapes[node.input[0]], (*self.shapes[node.output[0]], 0, 0)[:4]
        return size == new and n * before == m * after and before % BLOCK == 0 == after % BLOCK

    def same(self, name: str, other: str) -> None:
        """In blocks, a value is the same as another one."""
        self.blocks[name] = self.blocks[other]
        self.missing.add(name)

    def moved(self, name: str, blocks: str, shape: Shape) -> None:
        """A value is known in blocks, and only there."""
        self.blocks[name] = blocks
        self.shapes[blocks] = shape
        self.missing.add(name)

    def plain(self, name: str) -> str:
        """Return a value in the plain layout, brought there if it is in blocks alone."""
        if name in self.missing:
            self.missing.discard(name)
            base = self.makers[name]
            node = helper.make_node("ReorderOutput", [self.blocks[name]], [name], self.name(base, "ReorderOutput"))
            node.domain = DOMAIN
            node.attribute.append(helper.make_attribute("channels", self.shapes[name][1]))
            self.nodes.append(node)
        return name

    def in_blocks(self, node: onnx.NodeProto, name: str) -> str:
        """Return a value in blocks, brought there for ``node`` if it is not."""
        if name not in self.blocks:
            self.blocks[name] = self.add(node, "ReorderInput", [name], self.shapes[name])
        return self.blocks[name]

    def reshaped(self, node: onnx.NodeProto, name: str, shape: Shape) -> str:
        return self.add(node, "Reshape", [name, self.integers(*shape)], shape)

    def add(self, base: onnx.NodeProto, operator: str, inputs: Sequence[str], shape: Shape, **attributes: Any) -> str:
        """Write a node for the sake of ``base``, and return its output."""
        name = self.name(base, operator)
        domain = "" if operator in ("Reshape", "Add") else DOMAIN
        self.nodes.append(helper.make_node(operator, inputs, [name], name, domain=domain, **attributes))
        self.shapes[name] = shape
        return name

    def name(self, base: onnx.NodeProto, operator: str) -> str:
        """Return a new name, of the layer and the place in it that ``base`` has."""
        stem = f"{base.name.rpartition('/')[0]}/blocks{operator.lower()}"
        self.names[stem] += 1
        return stem if self.names[stem] == 1 else f"{stem}_{self.names[stem]}"

    def integers(self, *values: int) -> str:
        return self.constant("shape." + ".".join(map(str, values)), np.array(values, np.int64))

    def floats(self, name: str, values: NDArray[np.float32]) -> str:
        return self.constant(f"{name}.blocks", values)

    def constant(self, name: str, values: NDArray[Any]) -> str:
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name


def attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    """Return an attribute that is a number."""
    return next((int(a.i) for a in node.attribute if a.name == name), default)


def _needed(nodes: Sequence[onnx.NodeProto], outputs: Sequence[str]) -> list[onnx.NodeProto]:
    """Return the nodes that something depends on, in their order."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    return kept[::-1]
