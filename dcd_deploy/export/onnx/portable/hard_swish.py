"""HardSwish in operators that NNAPI and CoreML have.

    HardSwish(x)          →      x · Clip(x / 6 + 1/2, 0, 1)

For these two alone: elsewhere one operator is quicker than four.
"""

from __future__ import annotations

import onnx_ir as ir

from dcd_deploy.export.onnx.portable.hard_sigmoid import bounds, on_a_line
from dcd_deploy.export.onnx.portable.rewriting import before, nodes_of, replace


def hard_swish(graph: ir.Graph) -> None:
    """Write every HardSwish of a graph as a product with a Clip."""
    for node in nodes_of(graph, "HardSwish"):
        line = on_a_line(graph, node, 1 / 6, 0.5)
        gate = before(node, "Clip", [line, *bounds(graph, node)], "gate")
        replace(node, "Mul", [node.inputs[0], gate])
