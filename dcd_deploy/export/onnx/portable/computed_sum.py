"""Gemm with a computed summand as MatMul and Add.

    y = Gemm(A, B, C)          →      y = Add(MatMul(A, B), C)

ncnn's Gemm takes constants alone for C: pnnx writes a layer that ncnn does not load. A transposed constant is
transposed here; a transposed factor that is computed is left to a Transpose.
"""

from __future__ import annotations

import onnx_ir as ir

from dcd_deploy.export.onnx.portable.rewriting import (
    Value,
    added_constant,
    attribute,
    before,
    constant,
    nodes_of,
    replace,
)


def computed_sum(graph: ir.Graph) -> None:
    """Write every Gemm with a computed summand as a product and a sum."""
    for node in nodes_of(graph, "Gemm"):
        if _adds_what_is_computed(node):
            left = _turned(graph, node, node.inputs[0], "transA")
            right = _turned(graph, node, node.inputs[1], "transB")
            replace(node, "Add", [before(node, "MatMul", [left, right], "product"), node.inputs[2]])


def _adds_what_is_computed(node: ir.Node) -> bool:
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return False
    plain = attribute(node, "alpha", 1.0) == attribute(node, "beta", 1.0) == 1.0
    return plain and constant(node.inputs[2]) is None


def _turned(graph: ir.Graph, node: ir.Node, factor: Value, name: str) -> Value:
    if not attribute(node, name, 0):
        return factor
    assert factor is not None
    if (values := constant(factor)) is not None:
        return added_constant(graph, f"{factor.name}.T", values.T)
    return before(node, "Transpose", [factor], name, perm=[1, 0])
