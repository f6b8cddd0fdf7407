"""A length in operators that every runtime has.

    ReduceL2(x, axes)          →          Sqrt(ReduceSum(x · x, axes))

MNN converts a file with the first (``F.normalize``) and gives no output.
"""

from __future__ import annotations

import onnx_ir as ir

from dcd_deploy.export.onnx.portable.rewriting import attribute, before, nodes_of, replace


def plain_length(graph: ir.Graph) -> None:
    """Write every length as the root of a sum."""
    for node in nodes_of(graph, "ReduceL2"):
        value, *axes = node.inputs
        settings = {
            name: attribute(node, name, usual) for name, usual in (("keepdims", 1), ("noop_with_empty_axes", 0))
        }
        squares = before(node, "Mul", [value, value], "squares")
        replace(node, "Sqrt", [before(node, "ReduceSum", [squares, *axes], "sum", **settings)])
