"""A computed bias over a large map as one more channel, which is one everywhere.

    Conv<1×1>(x (1, C, H, W), W (K, C, 1, 1), b)    →    Conv<1×1>(Concat(x, 1), Concat(W, b))

For OpenVINO alone: it adds a computed bias in a pass of its own over what the convolution wrote, and only behind that
comes the activation, which is else part of the convolution. A channel more is less where K is larger than C.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from dcd_deploy.export.onnx.portable.rewriting import (
    added_constant,
    attribute,
    before,
    constant,
    nodes_of,
    sizes_for_reshape,
)

LARGE = 112 * 112  # pixels; below it no difference was seen


def ones_channel(graph: ir.Graph) -> None:
    """Put computed biases over large maps into the computed weights."""
    for node in nodes_of(graph, "Conv"):
        if _widens_a_large_map(node):
            _with_channel(graph, node)


def _widens_a_large_map(node: ir.Node) -> bool:
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return False
    sizes, weights = sizes_for_reshape(node.inputs[0]), sizes_for_reshape(node.inputs[1])
    if sizes is None or weights is None or len(sizes) != 4 or sizes[0] != 1 or sizes[2] * sizes[3] < LARGE:
        return False
    pointwise = weights[2:] == [1, 1] and attribute(node, "group", 1) == 1 and not any(attribute(node, "pads", ()))
    computed = constant(node.inputs[1]) is None and constant(node.inputs[2]) is None
    return pointwise and computed and weights[0] >= 2 * weights[1]


def _with_channel(graph: ir.Graph, node: ir.Node) -> None:
    kind, sizes, weights = node.outputs[0].type, sizes_for_reshape(node.inputs[0]), sizes_for_reshape(node.inputs[1])
    assert kind is not None
    assert sizes is not None
    assert weights is not None
    name = str(node.outputs[0].name)
    ones = added_constant(graph, f"{name}.ones", np.ones((1, 1, *sizes[2:]), kind.dtype.numpy()))
    shape = added_constant(graph, f"{name}.shift", np.array([weights[0], 1, 1, 1], np.int64))
    shift = before(node, "Reshape", [node.inputs[2], shape], "shift")
    node.replace_input_with(0, before(node, "Concat", [node.inputs[0], ones], "with_ones", axis=1))
    node.replace_input_with(1, before(node, "Concat", [node.inputs[1], shift], "with_shift", axis=1))
    node.resize_inputs(2)
