"""Move convolutions with computed weights into onnxruntime's blocks of channels (NCHWc), with what lies between them.

On x86 onnxruntime's optimiser moves convolutions there by itself, if their weights are constant. This pass does the
same for the dynamic layers of lowering ``nchwc``, in the runtime's own operators (domain com.microsoft.nchwc), and
takes along what stands between two of them: depthwise layers, activations, sums, pooling, and the first layer, which
reads the picture. What is left is the optimiser's own.

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
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from dcd_deploy.export.onnx import plain_graph
from dcd_deploy.export.onnx.plain_graph import CHANNELS, Shape, constants, shape
from dcd_deploy.export.onnx.portable.rewriting import Value
from dcd_deploy.lowering.channels_first.nchwc import aligned, same_in_both_blocks

DOMAIN = "com.microsoft.nchwc"
STANDARD = ("Reshape", "Add", "HardSwish", "Pad", "Slice")  # the first three also work on values in blocks
REORDERED_BY = 4  # ReorderInput takes channels in multiples of it
Attributes = dict[str, Any]


def in_blocks(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """Return a copy of a simplified model whose layers of lowering ``nchwc`` work in blocks; None where there are none.

    The lowering is told by its weights, which are computed, and arrive transposed. The batch size is fixed.
    """
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    result = InBlocks()(ir.from_proto(inferred))
    if not result.modified:
        return None
    moved = ir.to_proto(RemoveUnusedNodesPass()(result).model)
    made = {name for node in moved.graph.node if node.domain == DOMAIN for name in node.output}
    shapes = [value for value in moved.graph.value_info if value.name in made]  # nobody infers these
    del moved.graph.value_info[:]
    moved.graph.value_info.extend(shapes)
    onnx.checker.check_model(moved)
    return moved


class InBlocks(ir.passes.InPlacePass):
    """Write what works in blocks; what it replaces stays, and nothing reads it any more."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite a graph, if it has such layers; the shapes of all its values are known."""
        graph = model.graph
        if wanted := plain_graph.wanted(graph):
            writer = _Writer(graph, wanted, _names(graph))
            for node in tuple(graph):
                writer.take(node)
            writer.here = None
            for value in tuple(graph.outputs):
                writer.plain(value)
            graph.opset_imports[DOMAIN] = 1
        return ir.passes.PassResult(model, bool(wanted))


def _names(graph: ir.Graph) -> set[str]:
    """Return the names of all values of a graph."""
    values = (*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs))
    return {value.name for value in values if value.name}


@dataclass
class _Writer:
    """Writes nodes anew, each value in blocks, in the plain layout, or, where both are read, in both.

    They stand before the node ``here``, or at the end. ``blocks`` has the values that are known in blocks; ``missing``
    those that are known in blocks alone, with the nodes that make them in the plain layout; ``fusing`` the convolution
    that makes a value in blocks, as long as more can be fused into it; ``constants`` those that were added, by name.
    """

    graph: ir.Graph
    wanted: set[Value]
    taken: set[str]
    here: ir.Node | None = None
    blocks: dict[Value, ir.Value] = field(default_factory=dict)
    missing: dict[Value, ir.Node] = field(default_factory=dict)
    fusing: dict[Value, ir.Node] = field(default_factory=dict)
    constants: dict[str, ir.Value] = field(default_factory=dict)
    names: Counter[str] = field(default_factory=Counter)

    def take(self, node: ir.Node) -> None:
        """Write a node: in blocks, if it can be, and its input is there or its output wanted there."""
        self.here = node
        first, made = next(iter(node.inputs), None), node.outputs[0]
        inside = [value for value in node.inputs if value in self.blocks]
        if (turned := plain_graph.transposed_weights(node)) is not None:
            self.dynamic_convolution(node, turned)
        elif plain_graph.is_depthwise(node) and (inside or made in self.wanted):
            self.constant_convolution(node, self.in_blocks(node, first), aligned(shape(first)[CHANNELS]))
        elif plain_graph.reads_picture(node) and made in self.wanted:
            self.constant_convolution(node, self.plain(first), 1)
        elif node.op_type == "AveragePool" and (inside or first in self.wanted):
            self.average(node)
        elif inside and (node.op_type == "HardSwish" or (plain_graph.is_activation(node) and self.fuses(first))):
            self.activation(node)
        elif node.op_type == "Add" and len(inside) == 2:
            self.sum(node)
        elif inside and plain_graph.changes_padding_alone(node):
            self.moved(node, self.blocks[first])
        elif inside and plain_graph.regroups_samples(node):
            self.regrouped(node)
        else:
            for value in inside:
                self.plain(value)

    # One kind of node each

    def dynamic_convolution(self, node: ir.Node, turned: ir.Value) -> None:
        """Convolve in blocks by computed weights, which the runtime orders from rows of values of outputs."""
        *_, inner, width = shape(turned)  # inputs, or the taps of a depthwise layer
        weight = shape(node.inputs[1])
        parts = weight[0] // width
        before = plain_graph.maker(turned) or node
        source = before.inputs[0] if before.op_type in ("Unsqueeze", "Reshape") else turned
        rows = self.reshaped(before, source, (parts, inner, 1, width))
        ordered = self.add(before, "ReorderInput", [rows], (parts, width, inner, 1), channels_last=1)
        weights = self.reshaped(before, ordered, weight)
        none = np.zeros(weight[0], np.float32)
        bias = node.inputs[2] if len(node.inputs) > 2 else self.floats(node.outputs[0], none, ".bias")
        self.convolution(node, [self.in_blocks(node, node.inputs[0]), weights, bias], weight[0])

    def constant_convolution(self, node: ir.Node, x: Value, groups: int) -> None:
        """Convolve in blocks by constant weights, a filter for each output."""
        weight, *bias = constants(node)
        outputs, inputs, *kernel = weight.shape
        wide = aligned(outputs)
        shift = np.pad(bias[0], (0, wide - outputs)) if bias else np.zeros(wide, np.float32)
        padded = np.pad(weight, ((0, wide - outputs), (0, 0), (0, 0), (0, 0)))
        pixels = (1, wide, inputs * kernel[0], kernel[1])
        ordered = self.add(node, "ReorderInput", [self.floats(node.inputs[1], padded.reshape(pixels))], pixels)
        weights = self.reshaped(node, ordered, (wide, inputs, *kernel))
        self.convolution(node, [x, weights, self.floats(node.outputs[0], shift, ".bias")], wide, group=groups)

    def convolution(self, node: ir.Node, inputs: Sequence[Value], channels: int, **changed: int) -> None:
        """Write the convolution in blocks; its output stands in for that of ``node``."""
        n, _, *size = shape(node.outputs[0])
        made = self.replaced(node, inputs, (n, channels, *size), **changed)
        self.moved(node, made.outputs[0])
        self.fusing[made.outputs[0]] = made

    def activation(self, node: ir.Node) -> None:
        """Make an activation part of the convolution before it; a hard-swish is none, but the same in both layouts."""
        blocks = self.blocks[node.inputs[0]]
        if node.op_type == "HardSwish":
            self.moved(node, self.add(node, "HardSwish", [blocks], shape(blocks)))
            return
        attributes = self.fusing.pop(blocks).attributes
        attributes.add(ir.AttrString("activation", node.op_type))
        if node.op_type == "Clip":
            attributes.add(ir.AttrFloat32s("activation_params", [float(limit) for limit in constants(node)]))
        self.moved(node, blocks)

    def sum(self, node: ir.Node) -> None:
        """Add within the convolution that makes the later of the summands, or else by itself."""
        written = [value for earlier in self.graph for value in earlier.outputs]
        first, last = sorted(node.inputs, key=lambda value: written.index(self.blocks[value]))
        summands = [self.blocks[first], self.blocks[last]]
        made = self.fusing.get(summands[1])
        if made is not None and self.fuses(last) and shape(made.outputs[0]) == shape(summands[0]):
            made.resize_inputs(4)
            made.replace_input_with(3, summands[0])
            self.moved(node, summands[1])
        else:
            self.moved(node, self.add(node, "Add", summands, shape(summands[0])))

    def regrouped(self, node: ir.Node) -> None:
        """Move whole blocks between samples, which leaves them where they are."""
        before = self.blocks[node.inputs[0]]
        made = self.reshaped(node, before, shape(node.outputs[0]))
        self.moved(node, made)
        if self.fuses(node.inputs[0]):
            self.fusing[made] = self.fusing[before]

    def average(self, node: ir.Node) -> None:
        """Average in blocks; the few values that come out go on in the plain layout."""
        n, channels, *size = shape(node.outputs[0])
        made = self.replaced(node, [self.in_blocks(node, node.inputs[0])], (n, aligned(channels), *size))
        if size == [1, 1] and channels == aligned(channels):  # one pixel has the same order in both layouts
            self.instead(node.outputs[0], made.outputs[0])
        else:
            self.moved(node, made.outputs[0])

    # Values

    def fuses(self, value: Value) -> bool:
        """Whether a value in blocks is a convolution's output that nothing else reads."""
        if value is None or self.blocks.get(value) not in self.fusing:
            return False
        return len(value.uses()) + value.is_graph_output() == 1

    def moved(self, node: ir.Node, blocks: ir.Value) -> None:
        """What a node makes is known in blocks, and only there."""
        self.blocks[node.outputs[0]] = blocks
        self.missing[node.outputs[0]] = node

    def instead(self, value: ir.Value, made: ir.Value) -> None:
        """Let another value have the place and the name of one in the plain layout."""
        value.replace_all_uses_with(made, replace_graph_outputs=True)
        made.name = value.name

    def plain(self, value: Value) -> Value:
        """Return a value in the plain layout, brought there if it is in blocks alone."""
        if value is None or value not in self.missing:
            return value
        maker, blocks, (n, channels, *size) = self.missing.pop(value), self.blocks[value], shape(value)
        if same_in_both_blocks(channels):
            made = self.add(maker, "ReorderOutput", [blocks], shape(value), channels=channels)
        else:
            wide = (n, aligned(channels), *size)
            padded = self.add(maker, "ReorderOutput", [blocks], wide, channels=wide[1])
            bounds = [self.integers(bound) for bound in ([0], [channels], [CHANNELS])]
            made = self.add(maker, "Slice", [padded, *bounds], shape(value))
        self.blocks[made] = blocks
        self.instead(value, made)
        return made

    def in_blocks(self, node: ir.Node, value: Value) -> ir.Value:
        """Return a value in blocks, brought there for ``node`` if it is not."""
        if value not in self.blocks:
            n, channels, *size = shape(value)
            wide = (n, aligned(channels), *size)
            filled = value
            if channels % REORDERED_BY or not same_in_both_blocks(channels):
                pads = self.integers([0, 0, 0, 0, 0, wide[1] - channels, 0, 0])
                filled = self.add(node, "Pad", [value, pads], wide)
            self.blocks[value] = self.add(node, "ReorderInput", [filled], wide)
        return self.blocks[value]

    def reshaped(self, node: ir.Node, value: Value, wanted: Shape) -> ir.Value:
        """Return the same numbers under another shape."""
        return self.add(node, "Reshape", [value, self.integers(wanted, "shape")], wanted)

    # Nodes and constants

    def replaced(self, node: ir.Node, inputs: Sequence[Value], made: Shape, **changed: Any) -> ir.Node:
        """Write the runtime's own operator in place of ``node``, under its name and with its attributes."""
        attributes = changed | {name: value for name, value in node.attributes.items() if name not in changed}
        return self.write(node.op_type, inputs, made, node.name, f"{node.outputs[0].name}.blocks", attributes)

    def add(self, base: ir.Node, operator: str, inputs: Sequence[Value], made: Shape, **attributes: Any) -> ir.Value:
        """Write a node for the sake of ``base``, named after its layer and the place in it; return its output."""
        stem = f"{(base.name or '').rpartition('/')[0]}/blocks{operator.lower()}"
        self.names[stem] += 1
        name = stem if self.names[stem] == 1 else f"{stem}_{self.names[stem]}"
        return self.write(operator, inputs, made, name, name, attributes).outputs[0]

    def write(
        self, operator: str, inputs: Sequence[Value], made: Shape, name: str | None, output: str, attributes: Attributes
    ) -> ir.Node:
        """Write a node with one output, of shape ``made``."""
        outputs, domain = [ir.val(self.free(output), ir.DataType.FLOAT, made)], "" if operator in STANDARD else DOMAIN
        node = ir.node(operator, inputs, attributes, domain=domain, outputs=outputs, name=name)
        self.graph.insert_before(self.here, node) if self.here else self.graph.append(node)
        return node

    def floats(self, like: Value, values: NDArray[np.float32], kind: str = "") -> ir.Value:
        assert like is not None
        return self.constant(f"{like.name}{kind}.blocks", values)

    def integers(self, values: Sequence[int], kind: str = "values") -> ir.Value:
        return self.constant(f"{kind}." + ".".join(map(str, values)), np.array(values, np.int64))

    def constant(self, name: str, values: NDArray[Any]) -> ir.Value:
        if name not in self.constants:
            own = self.free(name)
            made = ir.val(own, const_value=ir.tensor(np.ascontiguousarray(values), name=own))
            self.graph.initializers.add(made)
            self.constants[name] = made
        return self.constants[name]

    def free(self, name: str) -> str:
        """Return the name, changed where another value has it: parameters are called as their user likes."""
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name
