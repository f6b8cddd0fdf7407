"""A mean, or another reduction, over one axis as one over two, of which the second has size 1.

    (…, A, …) → ReduceMean<axis a>          →      (…, A, 1, …) → ReduceMean<axes a, a + 1>

From opset 18 on the axes are a tensor. pnnx reads one of a single element as a number, its ncnn pass then writes a
Reduction without axes, and ncnn reduces all. What makes the shape is a Reshape; where one was there it is the same
number of nodes. A reduction that keeps its axis gets its shape back from another Reshape.
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

REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceProd")


def single_axis(graph: ir.Graph) -> None:
    """Write reductions over one axis as ones over two; those of more than one free size stay."""
    for node in nodes_of(graph, *REDUCTIONS):
        value, axes = node.inputs[0], constant(node.inputs[1] if len(node.inputs) > 1 else None)
        sizes = sizes_for_reshape(value)
        if value is not None and sizes is not None and axes is not None and axes.size == 1:
            _over_two(graph, node, value, sizes, int(axes.item()) % len(sizes))


def _over_two(graph: ir.Graph, node: ir.Node, value: ir.Value, sizes: list[int], axis: int) -> None:
    name = str(node.outputs[0].name)
    kept = [1 if i == axis else size for i, size in enumerate(sizes)]
    spread = _reshaped(graph, node, value, [*sizes[: axis + 1], 1, *sizes[axis + 1 :]])
    both = added_constant(graph, f"{name}.axes", np.array([axis, axis + 1], np.int64))
    if not attribute(node, "keepdims", 1):
        replace(node, node.op_type, [spread, both], keepdims=0)
        return
    reduced = before(node, node.op_type, [spread, both], "reduced", keepdims=0)
    replace(node, "Reshape", [reduced, added_constant(graph, f"{name}.shape", np.array(kept, np.int64))])


def _reshaped(graph: ir.Graph, node: ir.Node, value: ir.Value, sizes: Sequence[int]) -> ir.Value:
    """Return a value in another shape; of a Reshape that has no other reader, what went into it."""
    maker = value.producer()
    source = maker.inputs[0] if maker is not None and maker.op_type == "Reshape" else value
    shape = added_constant(graph, f"{node.outputs[0].name}.spread", np.array(sizes, np.int64))
    return before(node, "Reshape", [source, shape], "spread")
