"""Move convolutions with computed weights into onnxruntime's blocks of channels (NCHWc), with what lies between them.

On x86 onnxruntime's optimiser moves convolutions there by itself, if their weights are constant. This pass does the
same for the dynamic layers of form ``nchwc``, in the runtime's own operators (domain com.microsoft.nchwc), and takes
along what stands between two of them: depthwise layers, activations, sums, pooling, and the first layer, which reads
the picture. What is left is the optimiser's own.

A block is 16 channels on a processor with AVX-512 and 8 on every other x86-64, be it with AVX2 or without. One file
serves both: it leaves all ordering of weights to the runtime's ReorderInput, which knows the machine. From a map to
blocks is

    [n][channel][pixel] → [n][channel / B][pixel][channel % B]

and the weights of a 1×1 or depthwise layer are ordered just so, when its outputs are taken for channels and all else
for pixels. Maps in blocks have channels in multiples of 16, filled up by zeros. The runtime itself fills up, and cuts
off, less than one block of the machine: nothing where a map of 8 or 24 channels meets blocks of 8. Those maps are
therefore filled up and cut in the plain layout, by a Pad before ReorderInput and a Slice behind ReorderOutput.
Elsewhere than on x86 onnxruntime has no such operators, and refuses the file.
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

from dcd_deploy.export.plain_graph import CHANNELS, PlainGraph, Shape
from dcd_deploy.lowering.channels_first.nchwc import aligned, same_in_both_blocks

DOMAIN = "com.microsoft.nchwc"
STANDARD = ("Reshape", "Add", "Pad", "Slice")  # the first two also work on values in blocks
REORDERED_BY = 4  # ReorderInput takes channels in multiples of it


def in_blocks(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """Return a copy of a simplified model whose layers of form ``nchwc`` work in blocks; None where there are none.

    The form is told by its weights, which are computed, and arrive transposed. The batch size is fixed.
    """
    graph = PlainGraph.of(model)
    if not (wanted := graph.wanted()):
        return None
    writer = _Writer(graph, wanted, dict(graph.constants), dict(graph.shapes))
    for node in graph.nodes:
        writer.take(node)
    outputs = [writer.plain(value.name) for value in model.graph.output]
    moved = onnx.ModelProto()
    moved.CopyFrom(model)
    del moved.graph.node[:], moved.graph.initializer[:], moved.graph.value_info[:]
    moved.graph.node.extend(_needed(writer.nodes, outputs))
    read = {name for node in moved.graph.node for name in node.input}
    moved.graph.initializer.extend(value for name, value in writer.constants.items() if name in read)
    made = [name for node in moved.graph.node if node.domain == DOMAIN for name in node.output]  # nobody infers these
    moved.graph.value_info.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, writer.shapes[name]) for name in made
    )
    moved.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    onnx.checker.check_model(moved)
    return moved


def _needed(nodes: Sequence[onnx.NodeProto], outputs: Sequence[str]) -> list[onnx.NodeProto]:
    """Return the nodes that something depends on, in their order."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    return kept[::-1]


@dataclass
class _Writer:
    """Writes the nodes anew, each value in blocks, in the plain layout, or, where both are read, in both.

    ``blocks`` has the values that are known in blocks, by their plain names; ``missing`` those that are known in blocks
    alone; ``fusing`` the convolution that makes a value in blocks, as long as more can be fused into it.
    """

    graph: PlainGraph
    wanted: set[str]
    constants: dict[str, onnx.TensorProto]
    shapes: dict[str, Shape]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    blocks: dict[str, str] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    fusing: dict[str, onnx.NodeProto] = field(default_factory=dict)
    names: Counter[str] = field(default_factory=Counter)

    def take(self, node: onnx.NodeProto) -> None:
        """Write a node: in blocks, if it can be, and its input is there or its output wanted there."""
        graph, first = self.graph, node.input[0]
        inside = [name for name in node.input if name in self.blocks]
        if (turned := graph.transposed_weights(node)) is not None:
            self.dynamic_convolution(node, turned)
        elif graph.is_depthwise(node) and (inside or node.output[0] in self.wanted):
            self.constant_convolution(node, self.in_blocks(node, first), aligned(graph.shapes[first][1]))
        elif graph.reads_picture(node) and node.output[0] in self.wanted:
            self.constant_convolution(node, self.plain(first), 1)
        elif node.op_type == "AveragePool" and (inside or first in self.wanted):
            self.average(node)
        elif inside and graph.is_activation(node) and self.fuses(first):
            self.activation(node)
        elif node.op_type == "Add" and len(inside) == 2:
            self.sum(node)
        elif inside and graph.changes_padding_alone(node):
            self.same(node.output[0], first)
        elif inside and graph.regroups_samples(node):
            self.regrouped(node)
        else:
            for name in inside:
                self.plain(name)
            self.nodes.append(node)

    # One kind of node each

    def dynamic_convolution(self, node: onnx.NodeProto, turned: str) -> None:
        """Convolve in blocks by computed weights, which the runtime orders from rows of values of outputs."""
        *_, inner, width = self.shapes[turned]  # inputs, or the taps of a depthwise layer
        weight = self.shapes[node.input[1]]
        parts = weight[0] // width
        before = self.graph.makers[turned]
        source = before.input[0] if before.op_type in ("Unsqueeze", "Reshape") else turned
        rows = self.reshaped(before, source, (parts, inner, 1, width))
        ordered = self.add(before, "ReorderInput", [rows], (parts, width, inner, 1), channels_last=1)
        weights = self.reshaped(before, ordered, weight)
        bias = node.input[2] if len(node.input) > 2 else self.floats(f"{node.output[0]}.bias", np.zeros(weight[0]))
        self.convolution(node, self.in_blocks(node, node.input[0]), weights, bias, weight[0])

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

    def convolution(self, node: onnx.NodeProto, x: str, weights: str, bias: str, channels: int, **changed: int) -> None:
        """Write the convolution in blocks; its output stands in for that of ``node``."""
        made = self.replaced(node, [x, weights, bias], **changed)
        n, _, *size = self.shapes[node.output[0]]
        self.moved(node.output[0], made.output[0], (n, channels, *size))
        self.fusing[made.output[0]] = made

    def activation(self, node: onnx.NodeProto) -> None:
        """Make an activation part of the convolution before it."""
        made = self.fusing.pop(self.blocks[node.input[0]])
        made.attribute.append(helper.make_attribute("activation", node.op_type))
        if node.op_type == "Clip":
            limits = [float(numpy_helper.to_array(self.constants[name])) for name in node.input[1:]]
            made.attribute.append(helper.make_attribute("activation_params", limits))
        self.same(node.output[0], node.input[0])

    def sum(self, node: onnx.NodeProto) -> None:
        """Add within the convolution that makes the later of the summands, or else by itself."""
        written = [name for earlier in self.nodes for name in earlier.output]
        first, last = sorted(node.input, key=lambda name: written.index(self.blocks[name]))
        summands = [self.blocks[first], self.blocks[last]]
        shape = self.shapes[summands[0]]
        made = self.fusing.get(summands[1])
        if made is not None and self.fuses(last) and self.shapes[made.output[0]] == shape:
            made.input.append(summands[0])
            self.same(node.output[0], last)
        else:
            self.moved(node.output[0], self.add(node, "Add", summands, shape), shape)

    def regrouped(self, node: onnx.NodeProto) -> None:
        """Move whole blocks between samples, which leaves them where they are."""
        before, shape = self.blocks[node.input[0]], self.shapes[node.output[0]]
        self.moved(node.output[0], self.reshaped(node, before, shape), shape)
        if self.fuses(node.input[0]):
            self.fusing[self.blocks[node.output[0]]] = self.fusing[before]

    def average(self, node: onnx.NodeProto) -> None:
        """Average in blocks; the few values that come out go on in the plain layout."""
        n, channels, *size = self.shapes[node.output[0]]
        made = self.replaced(node, [self.in_blocks(node, node.input[0])])
        if size == [1, 1] and channels == aligned(channels):  # one pixel has the same order in both layouts
            made.output[0] = node.output[0]
        else:
            self.moved(node.output[0], made.output[0], (n, aligned(channels), *size))

    # Values

    def fuses(self, name: str) -> bool:
        """Whether a value in blocks is a convolution's output that nothing else reads."""
        return self.blocks.get(name) in self.fusing and self.graph.readers[name] == 1

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
            maker, blocks, (n, channels, *size) = self.graph.makers[name], self.blocks[name], self.shapes[name]
            if same_in_both_blocks(channels):
                self.add(maker, "ReorderOutput", [blocks], self.shapes[name], output=name, channels=channels)
            else:
                wide = (n, aligned(channels), *size)
                padded = self.add(maker, "ReorderOutput", [blocks], wide, channels=wide[1])
                bounds = [self.integers(value) for value in ([0], [channels], [CHANNELS])]
                self.add(maker, "Slice", [padded, *bounds], self.shapes[name], output=name)
        return name

    def in_blocks(self, node: onnx.NodeProto, name: str) -> str:
        """Return a value in blocks, brought there for ``node`` if it is not."""
        if name not in self.blocks:
            n, channels, *size = self.shapes[name]
            wide = (n, aligned(channels), *size)
            plain = name
            if channels % REORDERED_BY or not same_in_both_blocks(channels):
                pads = self.integers([0, 0, 0, 0, 0, wide[1] - channels, 0, 0])
                plain = self.add(node, "Pad", [name, pads], wide)
            self.blocks[name] = self.add(node, "ReorderInput", [plain], wide)
        return self.blocks[name]

    def reshaped(self, node: onnx.NodeProto, name: str, shape: Shape) -> str:
        """Return the same numbers under another shape."""
        return self.add(node, "Reshape", [name, self.integers(shape, "shape")], shape)

    # Nodes and constants

    def replaced(self, node: onnx.NodeProto, inputs: Sequence[str], **changed: Any) -> onnx.NodeProto:
        """Write the runtime's own operator in place of ``node``, under its name and with its attributes."""
        made = helper.make_node(node.op_type, inputs, [f"{node.output[0]}.blocks"], node.name, domain=DOMAIN, **changed)
        made.attribute.extend(a for a in node.attribute if a.name not in changed)
        self.nodes.append(made)
        return made

    def add(
        self,
        base: onnx.NodeProto,
        operator: str,
        inputs: Sequence[str],
        shape: Shape,
        *,
        output: str = "",
        **attributes: Any,
    ) -> str:
        """Write a node for the sake of ``base``, and return its output, which is named like the node if not given."""
        name = self.name(base, operator)
        made, domain = output or name, "" if operator in STANDARD else DOMAIN
        self.nodes.append(helper.make_node(operator, inputs, [made], name, domain=domain, **attributes))
        self.shapes[made] = shape
        return made

    def name(self, base: onnx.NodeProto, operator: str) -> str:
        """Return a new name, of the layer and the place in it that ``base`` has."""
        stem = f"{base.name.rpartition('/')[0]}/blocks{operator.lower()}"
        self.names[stem] += 1
        return stem if self.names[stem] == 1 else f"{stem}_{self.names[stem]}"

    def floats(self, name: str, values: NDArray[Any]) -> str:
        return self.constant(f"{name}.blocks", values.astype(np.float32))

    def integers(self, values: Sequence[int], kind: str = "values") -> str:
        return self.constant(f"{kind}." + ".".join(map(str, values)), np.array(values, np.int64))

    def constant(self, name: str, values: NDArray[Any]) -> str:
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name
