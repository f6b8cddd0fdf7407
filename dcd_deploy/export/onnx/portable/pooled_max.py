"""The largest of a map's channels, or of the map, as a pooling.

    x (N, C, H, W) → ReduceMax<axes 2, 3> →  x → GlobalMaxPool
    x (N, C, H, W) → ReduceMax<axis 1>   →   x → Reshape (N, 1, C, H·W) → MaxPool (C, 1) → Reshape (N, 1, H, W)

For ncnn alone, whose converter knows no ReduceMax (CBAM's spatial attention); MNN has crashed on the pooling.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from dcd_deploy.export.onnx.portable.large_mean import PLANE
from dcd_deploy.export.onnx.portable.rewriting import (
    added_constant,
    attribute,
    before,
    constant,
    nodes_of,
    replace,
    sizes_for_reshape,
)

CHANNELS = [1]


def pooled_max(graph: ir.Graph) -> None:
    """Write every maximum over the second, or the last two, of four dimensions as a pooling."""
    for node in nodes_of(graph, "ReduceMax"):
        sizes, axes = sizes_for_reshape(node.inputs[0]), constant(node.inputs[1] if len(node.inputs) > 1 else None)
        if sizes is None or len(sizes) != 4 or min(sizes[1:]) < 1 or axes is None:
            continue
        over = sorted(int(axis) % 4 for axis in axes)
        if over == CHANNELS:
            (samples, channels, *sides), name = sizes, str(node.outputs[0].name)
            rows = [samples, 1, channels, sides[0] * sides[1]]
            spread = before(node, "Reshape", [node.inputs[0], _shape(graph, f"{name}.rows", rows)], "spread")
            largest = before(node, "MaxPool", [spread], "largest", kernel_shape=[channels, 1], strides=[1, 1])
        elif over == PLANE:
            largest = before(node, "GlobalMaxPool", [node.inputs[0]], "largest")
        else:
            continue
        kept = [1 if axis in over else size for axis, size in enumerate(sizes)]
        if not attribute(node, "keepdims", 1):
            kept = [size for axis, size in enumerate(sizes) if axis not in over]
        replace(node, "Reshape", [largest, _shape(graph, f"{node.outputs[0].name}.shape", kept)])


def _shape(graph: ir.Graph, name: str, sizes: list[int]) -> ir.Value:
    return added_constant(graph, name, np.array(sizes, np.int64))
