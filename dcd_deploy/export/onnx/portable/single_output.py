"""A convolution by a computed kernel of a single output as one of two, both the same, of which the first is read.

    Conv(x, W (1, C, …), b (1))      →      Slice(Conv(x, Reshape(Concat(W, W), (2, C, …)), (b, b)))

pnnx takes the kernel's first axis, of size 1, for the sample's: ncnn computes another map, or none, without a word.
In onnxruntime the layer takes 1.3 to 2.2 times as long; as one of each channel by itself, and their sum, up to 6.5.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from dcd_deploy.export.onnx.portable.rewriting import (
    Value,
    added_constant,
    attribute,
    before,
    constant,
    maker,
    nodes_of,
    replace,
)


def single_output(graph: ir.Graph) -> None:
    """Let no convolution have a computed kernel of one output and several inputs."""
    for node in nodes_of(graph, "Conv"):
        sizes = _kernel_sizes(node)
        if sizes is None or sizes[0] != 1 or sizes[1] == 1 or attribute(node, "group", 1) != 1:
            continue
        bias = (*node.inputs, None)[2]
        inputs = [node.inputs[0], _kernels(graph, node, sizes), None if bias is None else _biases(graph, node, bias)]
        geometry = {name: each.value for name, each in node.attributes.items()}
        both = before(node, "Conv", inputs, "both", **geometry)
        zero, one = (added_constant(graph, f"{node.outputs[0].name}.{n}", np.array([n], np.int64)) for n in (0, 1))
        replace(node, "Slice", [both, zero, one, one])


def _kernel_sizes(node: ir.Node) -> list[int] | None:
    """Return the sizes of a convolution's kernel that is computed; None of others, or where they are not known."""
    weight = node.inputs[1]
    if weight is None or weight.shape is None or constant(weight) is not None:
        return None
    return [size for size in weight.shape if isinstance(size, int)] if weight.shape.is_static() else None


def _kernels(graph: ir.Graph, node: ir.Node, sizes: list[int]) -> ir.Value:
    """Return the kernel twice, made of its numbers as a row: an axis of size 1 none may be joined along."""
    name = node.outputs[0].name
    reshaped = maker(node.inputs[1], "Reshape")
    row, whole = [1, math.prod(sizes)], [2, *sizes[1:]]
    shapes = [added_constant(graph, f"{name}.{n}", np.array(s, np.int64)) for n, s in (("row", row), ("pair", whole))]
    numbers = before(node, "Reshape", [node.inputs[1] if reshaped is None else reshaped.inputs[0], shapes[0]], "row")
    return before(node, "Reshape", [before(node, "Concat", [numbers, numbers], "twice", axis=1), shapes[1]], "pair")


def _biases(graph: ir.Graph, node: ir.Node, bias: ir.Value) -> Value:
    number = constant(bias)
    if number is not None:
        return added_constant(graph, f"{node.outputs[0].name}.biases", np.tile(number, 2))
    return before(node, "Concat", [bias, bias], "biases", axis=0)
