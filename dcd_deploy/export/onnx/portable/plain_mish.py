"""Mish in the operators that define it.

    Mish(x)          →          x · Tanh(Softplus(x))

MNN cannot convert it. onnxruntime computes it so anyway.
"""

from __future__ import annotations

import onnx_ir as ir

from dcd_deploy.export.onnx.portable.rewriting import before, nodes_of, replace


def plain_mish(graph: ir.Graph) -> None:
    """Write every Mish as a product."""
    for node in nodes_of(graph, "Mish"):
        gate = before(node, "Tanh", [before(node, "Softplus", node.inputs, "softplus")], "gate")
        replace(node, "Mul", [node.inputs[0], gate])
