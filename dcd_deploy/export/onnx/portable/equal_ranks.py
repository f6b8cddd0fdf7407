"""The product of a softmax and a bank of kernels, between operands of one rank.

    MatMul(Softmax(v) (1, M), bank (1, M, R))          →      MatMul(Reshape(Softmax(v), (1, 1, M)), bank)

OpenVINO (2026.4) takes a product of a softmax for attention, and refuses the file when the ranks differ:
"ReduceDecomposition supports only Reduce by last dimension".
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from dcd_deploy.export.onnx.portable.rewriting import added_constant, before, constant, nodes_of, sizes_for_reshape


def equal_ranks(graph: ir.Graph) -> None:
    """Give a softmax the rank of the constant that it is multiplied by."""
    for node in nodes_of(graph, "MatMul"):
        if sizes := _lacking(node):
            shape = added_constant(graph, f"{node.outputs[0].name}.rank", np.array(sizes, np.int64))
            node.replace_input_with(0, before(node, "Reshape", [node.inputs[0], shape], "rank"))


def _lacking(node: ir.Node) -> list[int]:
    """Return the shape that a softmax is to have in a product; none where it has the rank."""
    left, bank = node.inputs[0], constant(node.inputs[1])
    sizes, maker = sizes_for_reshape(left), None if left is None else left.producer()
    if maker is None or maker.op_type != "Softmax" or bank is None or sizes is None:
        return []
    missing = bank.ndim - len(sizes)
    return [1] * missing + sizes if missing > 0 else []
