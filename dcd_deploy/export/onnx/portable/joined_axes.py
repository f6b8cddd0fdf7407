"""A mean, or another reduction, over three neighbouring axes or more as one over two.

    (N, C, D, H, W) → ReduceMean<axes 2, 3, 4>      →      (N, C, D, H·W) → ReduceMean<axes 2, 3>

OpenCV 4 gives another number for three, silently.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from dcd_deploy.export.onnx.portable.rewriting import (
    FREE,
    added_constant,
    attribute,
    before,
    constant,
    nodes_of,
    replace,
    sizes_for_reshape,
)
from dcd_deploy.export.onnx.portable.single_axis import REDUCTIONS

MOST_AXES = 2


def joined_axes(graph: ir.Graph) -> None:
    """Write reductions over several axes as ones over two; those of free sizes, or of axes apart, stay."""
    for node in nodes_of(graph, *REDUCTIONS):
        axes = constant(node.inputs[1] if len(node.inputs) > 1 else None)
        sizes = sizes_for_reshape(node.inputs[0])
        if axes is None or sizes is None or axes.size <= MOST_AXES:
            continue
        reduced = sorted(int(axis) % len(sizes) for axis in axes)
        first, behind = reduced[0], reduced[-1] + 1
        if behind - first == len(reduced) and FREE not in sizes[first:behind]:
            _over_two(graph, node, sizes, first, behind)


def _over_two(graph: ir.Graph, node: ir.Node, sizes: list[int], first: int, behind: int) -> None:
    name = str(node.outputs[0].name)
    joined = [*sizes[: first + 1], math.prod(sizes[first + 1 : behind]), *sizes[behind:]]
    shape = added_constant(graph, f"{name}.joined", np.array(joined, np.int64))
    value = before(node, "Reshape", [node.inputs[0], shape], "joined")
    value.shape = ir.Shape([None if size == FREE else size for size in joined])
    both = added_constant(graph, f"{name}.axes", np.array([first, first + 1], np.int64))
    if not attribute(node, "keepdims", 1):
        replace(node, node.op_type, [value, both], keepdims=0)
        return
    kept = [*sizes[:first], *([1] * (behind - first)), *sizes[behind:]]
    reduced = before(node, node.op_type, [value, both], "reduced", keepdims=0)
    replace(node, "Reshape", [reduced, added_constant(graph, f"{name}.kept", np.array(kept, np.int64))])
