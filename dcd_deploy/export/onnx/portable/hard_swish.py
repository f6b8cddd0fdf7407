"""HardSwish in operators that NNAPI and CoreML have.

    HardSwish(x)          →      x · Clip(x / 6 + 1/2, 0, 1)

For these two alone: elsewhere one operator is quicker than four.
"""

from __future__ import annotations

import onnx_ir as ir

from dcd_deploy.export.onnx.portable.hard_sigmoid import bounds, on_a_line
from dcd_deploy.export.onnx.portable.rewriting import before, replace


class HardSwish(ir.passes.InPlacePass):
    """Write every HardSwish of a graph as a product with a Clip."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite, in place."""
        found = [node for node in model.graph if node.domain == "" and node.op_type == "HardSwish"]
        for node in found:
            line = on_a_line(model.graph, node, 1 / 6, 0.5)
            gate = before(node, "Clip", [line, *bounds(model.graph, node)], "gate")
            replace(node, "Mul", [node.inputs[0], gate])
        return ir.passes.PassResult(model, bool(found))
