"""The mean of a whole map as a pooling.

    x (N, C, H, W) → ReduceMean<axes 2, 3>          →      x → GlobalAveragePool → Reshape (N, C)

For MNN and ncnn alone: they pool maps in the layout in which they keep them, but lay a map out anew for a reduction. Of
a large map (``large_mean``) windows of it are pooled first.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from dcd_deploy.export.onnx.portable.large_mean import LARGE, PLANE
from dcd_deploy.export.onnx.portable.rewriting import (
    Value,
    added_constant,
    attribute,
    before,
    constant,
    nodes_of,
    replace,
    sizes_for_reshape,
)


def global_pooling(graph: ir.Graph) -> None:
    """Write every mean over the last two of four dimensions as a pooling."""
    for node in nodes_of(graph, "ReduceMean"):
        if (sizes := _of_a_map(node)) is not None:
            _as_pooling(graph, node, sizes)


def _of_a_map(node: ir.Node) -> list[int] | None:
    """Return the sizes of the map whose mean a node takes."""
    sizes, axes = sizes_for_reshape(node.inputs[0]), constant(node.inputs[1] if len(node.inputs) > 1 else None)
    if sizes is None or len(sizes) != 4 or min(sizes[1:]) < 1 or axes is None:
        return None
    return sizes if sorted(int(axis) % 4 for axis in axes) == PLANE else None


def _as_pooling(graph: ir.Graph, node: ir.Node, sizes: list[int]) -> None:
    value: Value = node.inputs[0]
    if sizes[2] * sizes[3] >= LARGE:
        window = [_divisor(side) for side in sizes[2:]]
        value = before(node, "AveragePool", [value], "windows", kernel_shape=window, strides=window)
    if attribute(node, "keepdims", 1):
        replace(node, "GlobalAveragePool", [value])
        return
    row = added_constant(graph, f"{node.outputs[0].name}.row", np.array(sizes[:2], np.int64))
    replace(node, "Reshape", [before(node, "GlobalAveragePool", [value], "mean"), row])


def _divisor(side: int) -> int:
    """Return the largest divisor of a side up to its root."""
    return next(size for size in range(math.isqrt(side), 0, -1) if side % size == 0)
