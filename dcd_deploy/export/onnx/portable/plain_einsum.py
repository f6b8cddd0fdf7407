"""Einsum of two tensors as a product of matrices, or as a product and a sum.

    Einsum(a, b), "bghid,bghjd->bghij"      →      MatMul(Reshape(a), Transpose(Reshape(b))), reshaped
    Einsum(a, b), "bchw,bchw->bhw"          →      ReduceSum(a · b, 1)

OpenCV 5 crashes on an Einsum of five axes, and OpenCV 4 refuses it. Others compute the same either way.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from dcd_deploy.export.onnx.portable.rewriting import (
    FREE,
    added_constant,
    attribute,
    before,
    nodes_of,
    replace,
    sizes_for_reshape,
)

EQUATION = re.compile(r"([a-zA-Z]+),([a-zA-Z]+)->([a-zA-Z]*)")
Group = Sequence[str]


def plain_einsum(graph: ir.Graph) -> None:
    """Write every Einsum of two tensors of known sizes so; outer products, sums of one of them, and others stay."""
    for node in nodes_of(graph, "Einsum"):
        found = EQUATION.fullmatch(attribute(node, "equation", "").replace(" ", ""))
        if found is None or any(len(set(term)) < len(term) for term in found.groups()):
            continue
        sizes: dict[str, int] = {}
        for value, term in zip(node.inputs, found.groups(), strict=False):
            sizes |= dict(zip(term, sizes_for_reshape(value) or (), strict=False))
        first, second, result = found.groups()
        if sizes.keys() != {*first, *second} or list(sizes.values()).count(FREE) > 1:
            continue
        if first == second:
            _summed(graph, node, first, result)
        else:
            _multiplied(graph, node, (first, second, result), sizes)


def _summed(graph: ir.Graph, node: ir.Node, term: str, result: str) -> None:
    """Write a sum of products, if what is left has the order that it had."""
    gone = [axis for axis, label in enumerate(term) if label not in result]
    if gone and result == "".join(label for label in term if label in result):
        axes = added_constant(graph, f"{node.outputs[0].name}.axes", np.array(gone, np.int64))
        products = before(node, "Mul", node.inputs, "products")
        products.shape = node.inputs[0].shape if node.inputs[0] is not None else None
        replace(node, "ReduceSum", [products, axes], keepdims=0)


def _multiplied(graph: ir.Graph, node: ir.Node, terms: tuple[str, str, str], sizes: dict[str, int]) -> None:
    """Write a product of matrices, if each operand has an axis of its own and all of one are used."""
    first, second, result = terms
    shared = [label for label in first if label in second]
    batch, inner = ([label for label in shared if (label in result) == kept] for kept in (True, False))
    rows, columns = ([label for label in term if label not in shared] for term in (first, second))
    if not (rows and columns and inner) or not {*rows, *columns} <= {*result}:
        return
    left = _matrix(graph, node, 0, first, (batch, rows, inner), sizes)
    right = _matrix(graph, node, 1, second, (batch, inner, columns), sizes)
    product, order = before(node, "MatMul", [left, right], "product"), [*batch, *rows, *columns]
    whole = [product, _shape(graph, node, [sizes[label] for label in order], "whole")]
    if order == list(result):
        replace(node, "Reshape", whole)
    else:
        turn = [order.index(label) for label in result]
        replace(node, "Transpose", [before(node, "Reshape", whole, "whole")], perm=turn)


def _matrix(
    graph: ir.Graph, node: ir.Node, place: int, term: str, groups: tuple[Group, Group, Group], sizes: dict[str, int]
) -> ir.Value:
    """Return an operand as (batch, rows, columns), of which each joins a group of its axes; or as (rows, columns)."""
    order = [label for group in groups for label in group]
    value = node.inputs[place]
    assert value is not None  # its sizes are known
    if order != list(term):
        value = before(node, "Transpose", [value], f"turned{place}", perm=[term.index(label) for label in order])
    joined = [_size(group, sizes) for group in groups if group]
    name = f"matrix{place}"
    return before(node, "Reshape", [value, _shape(graph, node, joined, name)], name)


def _size(group: Group, sizes: dict[str, int]) -> int:
    found = [sizes[label] for label in group]
    return FREE if FREE in found else math.prod(found)


def _shape(graph: ir.Graph, node: ir.Node, sizes: list[int], name: str) -> ir.Value:
    return added_constant(graph, f"{node.outputs[0].name}.{name}", np.array(sizes, np.int64))
