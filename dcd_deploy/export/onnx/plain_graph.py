"""A simplified ONNX graph as what it says of itself: what ``in_blocks`` can move, and which values are worth it.

The graph is onnx_ir's, with the shapes of all values inferred.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from dcd_deploy.lowering.channels_first.nchwc import BLOCK, aligned

Shape = tuple[int, ...]
ACTIVATIONS = ("Clip", "Relu")
CHANNELS = 1  # the axis


def shape(value: ir.Value | None) -> Shape:
    """Return the shape of a value; a free size counts as 0."""
    assert value is not None
    assert value.shape is not None, f"expected an inferred shape, found none of '{value.name}'"
    return tuple(size if isinstance(size, int) else 0 for size in value.shape)


def has_constants(node: ir.Node) -> bool:
    """Whether all inputs of a node but the first are constants."""
    return all(value is not None and value.const_value is not None for value in node.inputs[1:])


def constants(node: ir.Node) -> list[NDArray[Any]]:
    """Return the values of the constants among the inputs of a node but the first."""
    return [value.const_value.numpy() for value in node.inputs[1:] if value and value.const_value]


def maker(value: ir.Value | None) -> ir.Node | None:
    """Return the node that makes a value; None of an input or a constant."""
    return None if value is None else value.producer()


def wanted(graph: ir.Graph) -> set[ir.Value | None]:
    """Return the maps that a convolution with transposed weights reads, directly or through what can be moved."""
    found: set[ir.Value | None] = set()
    for node in reversed(graph):
        if transposed_weights(node) is not None or (node.outputs[0] in found and passes_on(node)):
            found.update(node.inputs[: 2 if node.op_type == "Add" else 1])
    return found


def passes_on(node: ir.Node) -> bool:
    """Whether a node works in blocks where its input is in blocks."""
    return (
        node.op_type in ("Add", "HardSwish")
        or is_activation(node)
        or is_depthwise(node)
        or changes_padding_alone(node)
        or regroups_samples(node)
    )


def transposed_weights(node: ir.Node) -> ir.Value | None:
    """Return Wᵀ (n, C, K), if a node convolves by computed weights W (n·K, C, 1, 1) that are made of it."""
    shaped = maker(node.inputs[1]) if node.op_type == "Conv" else None
    turned = maker(shaped.inputs[0]) if shaped and shaped.inputs else None
    return turned.inputs[0] if turned and turned.op_type == "Transpose" else None


def is_depthwise(node: ir.Node) -> bool:
    """Whether a node convolves each channel by constant weights of its own."""
    if not has_constant_weights(node):
        return False
    return groups(node) == shape(node.inputs[0])[CHANNELS] == shape(node.inputs[1])[0]


def reads_picture(node: ir.Node) -> bool:
    """Whether a node is a convolution of so few channels that it reads them in the plain layout."""
    return has_constant_weights(node) and groups(node) == 1 and shape(node.inputs[1])[CHANNELS] < BLOCK // 2


def groups(node: ir.Node) -> int:
    """Return the number of groups of a convolution."""
    return node.attributes.get_int("group", 1)


def is_activation(node: ir.Node) -> bool:
    """Whether a node is an activation that a convolution can take in, with constant limits if any."""
    return node.op_type in ACTIVATIONS and has_constants(node)


def has_constant_weights(node: ir.Node) -> bool:
    """Whether a node is a convolution with constant weights, and a constant bias or none."""
    return node.op_type == "Conv" and has_constants(node)


def changes_padding_alone(node: ir.Node) -> bool:
    """Whether a node adds or drops the last channels, which blocks have, or lack, anyway."""
    if node.op_type not in ("Pad", "Slice") or not has_constants(node):
        return False
    (n, before, *size), (m, after, *new) = shape(node.inputs[0]), shape(node.outputs[0])
    if (n, *size) != (m, *new) or aligned(before) != aligned(after):
        return False
    values = constants(node)
    if node.op_type == "Slice":  # from the first on
        return not np.any(values[0])
    added = np.zeros(8)
    added[4 + CHANNELS] = after - before
    by_zeros = len(values) == 1 or not np.any(values[1])
    return np.array_equal(values[0], added) and by_zeros


def regroups_samples(node: ir.Node) -> bool:
    """Whether a node makes N samples one with N times the channels, or the reverse, in whole blocks."""
    if node.op_type != "Reshape" or len(shape(node.inputs[0])) != 4 != len(shape(node.outputs[0])):
        return False
    (n, before, *size), (m, after, *new) = shape(node.inputs[0]), shape(node.outputs[0])
    return size == new and n * before == m * after and before % BLOCK == 0 == after % BLOCK
