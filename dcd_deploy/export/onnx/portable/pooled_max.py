"""The largest of a map's channels as a pooling.

    x (N, C, H, W) → ReduceMax<axis 1>   →   x → Reshape (N, 1, C, H·W) → MaxPool (C, 1) → Reshape (N, 1, H, W)

For ncnn alone, whose converter knows no ReduceMax (CBAM's spatial attention); MNN crashes on the pooling.
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
    replace,
    sizes_for_reshape,
)


def pooled_max(graph: ir.Graph) -> None:
    """Write every maximum over the second of four dimensions as a pooling."""
    for node in nodes_of(graph, "ReduceMax"):
        sizes, axes = sizes_for_reshape(node.inputs[0]), constant(node.inputs[1] if len(node.inputs) > 1 else None)
        if sizes is None or len(sizes) != 4 or min(sizes[1:]) < 1 or axes is None or axes.tolist() not in ([1], [-3]):
            continue
        (samples, channels, *sides), name = sizes, str(node.outputs[0].name)
        kept = [samples, *([1] if attribute(node, "keepdims", 1) else []), *sides]
        shapes = {"rows": [samples, 1, channels, sides[0] * sides[1]], "shape": kept}
        rows, shape = (added_constant(graph, f"{name}.{each}", np.array(to, np.int64)) for each, to in shapes.items())
        spread = before(node, "Reshape", [node.inputs[0], rows], "spread")
        largest = before(node, "MaxPool", [spread], "largest", kernel_shape=[channels, 1], strides=[1, 1])
        replace(node, "Reshape", [largest, shape])
