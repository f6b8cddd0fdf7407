"""Products of one vector with several constant matrices as one product, and a Split of what comes out.

    y_i = Gemm(a, W_i, b_i), i = 1 … n ≥ 3          →      y_1, …, y_n = Split(Gemm(a, (W_1; …; W_n), (b_1; …; b_n)))

The heads of an attention all read its last stage: two nodes in place of three, and one start of a product. Two products
stay, since they would be two nodes again.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from dcd_deploy.export.onnx.portable.rewriting import added_constant, attribute, before, constant, nodes_of

FEWEST = 3  # products that are more nodes than one product and a Split


def joined_products(graph: ir.Graph) -> None:
    """Join the products of a value with constant matrices."""
    found = [node for node in nodes_of(graph, "Gemm") if _of_a_vector(node)]
    first = {node.inputs[0]: place for place, node in reversed(list(enumerate(found)))}
    found.sort(key=lambda node: first[node.inputs[0]])
    groups = [list(group) for _, group in groupby(found, key=lambda node: node.inputs[0])]
    for group in groups:
        if len(group) >= FEWEST:
            _join(graph, group)


def _of_a_vector(node: ir.Node) -> bool:
    """Whether a node multiplies what is computed by a constant matrix, and adds a constant row or nothing."""
    if attribute(node, "transA", 0):
        return False
    matrix, bias = constant(node.inputs[1]), node.inputs[2] if len(node.inputs) > 2 else None
    row = constant(bias)
    plain = attribute(node, "alpha", 1.0) == attribute(node, "beta", 1.0) == 1.0
    return plain and matrix is not None and (bias is None or (row is not None and row.ndim == 1))


def _join(graph: ir.Graph, group: Sequence[ir.Node]) -> None:
    parts = [_rows(node) for node in group]
    first = group[0]
    name = str(first.inputs[1].name).removesuffix(".weight")  # type: ignore[union-attr]  # it is constant
    constants = {
        "weight": np.concatenate([rows for rows, _ in parts]),
        "bias": np.concatenate([bias for _, bias in parts]),
        "parts": np.array([len(rows) for rows, _ in parts], np.int64),
    }
    weight, bias, sizes = (added_constant(graph, f"{name}.joined.{key}", values) for key, values in constants.items())
    together = before(first, "Gemm", [first.inputs[0], weight, bias], "joined", transB=1)
    split = ir.node("Split", [together, sizes], {"axis": 1}, num_outputs=len(group))
    graph.insert_before(first, split)
    for node, made in zip(group, split.outputs, strict=True):
        old = node.outputs[0]
        made.name, made.type, made.shape = old.name, old.type, old.shape
        ir.convenience.replace_all_uses_with(old, made, replace_graph_outputs=True)
        graph.remove(node, safe=True)


def _rows(node: ir.Node) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return the matrix of a product, a row for each output, and what is added."""
    matrix = constant(node.inputs[1])
    assert matrix is not None
    rows = matrix if attribute(node, "transB", 0) else matrix.T
    bias = constant(node.inputs[2] if len(node.inputs) > 2 else None)
    return rows, np.zeros(len(rows), rows.dtype) if bias is None else np.broadcast_to(bias, len(rows))
