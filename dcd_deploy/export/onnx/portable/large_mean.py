"""The mean of a large map in two steps, along its rows and then of what they give.

    x (N, C, H, W) → ReduceMean<axes 2, 3>

    x → Reshape (N, C·H, W, 1) → ReduceMean<axes 2, 3> → Reshape (N, C, H, 1) → ReduceMean<axes 2, 3>

MNN and OpenCV 4 add up in float32, one value after the other. Of 112×112 values that is off so far that the outputs of
MobileNetV2-DCD ×0.5 were off by 1.0e-4 of their range; of 112 sums of 112 by 1e-5.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from dcd_deploy.export.onnx.portable.rewriting import (
    added_constant,
    attribute,
    before,
    constant,
    nodes_of,
    replace,
    sizes_for_reshape,
)

LARGE = 2048  # values; 2048 positive ones, added one by one, are off by about 1e-5
PLANE = [2, 3]


def large_mean(graph: ir.Graph) -> None:
    """Take means of large maps in two steps, where the sizes are known."""
    for node in nodes_of(graph, "ReduceMean"):
        if sizes := _large(node):
            _in_two_steps(graph, node, sizes)


def _large(node: ir.Node) -> list[int]:
    """Return the sizes of the map whose mean a node takes, where it is large; else none."""
    sizes, axes = sizes_for_reshape(node.inputs[0]), constant(node.inputs[1] if len(node.inputs) > 1 else None)
    if sizes is None or len(sizes) != 4 or min(sizes[1:]) < 1 or axes is None:
        return []
    over_plane = sorted(int(axis) % 4 for axis in axes) == PLANE
    return sizes if over_plane and sizes[2] * sizes[3] >= LARGE else []


def _in_two_steps(graph: ir.Graph, node: ir.Node, sizes: Sequence[int]) -> None:
    n, channels, height, width = sizes
    rows = _reshaped(graph, node, node.inputs[0], "rows", (n, channels * height, width, 1))
    means = before(node, "ReduceMean", [rows, node.inputs[1]], "of_rows", keepdims=0)
    column = _reshaped(graph, node, means, "column", (n, channels, height, 1))
    replace(node, "ReduceMean", [column, node.inputs[1]], keepdims=attribute(node, "keepdims", 1))


def _reshaped(graph: ir.Graph, node: ir.Node, value: ir.Value | None, name: str, sizes: tuple[int, ...]) -> ir.Value:
    shape = added_constant(graph, f"{node.outputs[0].name}.{name}", np.array(sizes, np.int64))
    return before(node, "Reshape", [value, shape], name)
