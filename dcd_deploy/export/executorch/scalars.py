"""Arithmetic with plain numbers, as ExecuTorch's exporter hands it to XNNPACK, before that exporter begins.

x + 3            x + 3.0             an integer would be a tensor of integers, and cast by an operator
add(x, y, a)     x + a y             XNNPACK's sum has no factor
1 / x            1.0 / x             a quotient of a constant: there is no reciprocal
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

aten = torch.ops.aten
SCALED = frozenset({aten.add.Tensor, aten.add_.Tensor, aten.sub.Tensor, aten.sub_.Tensor})
PRODUCTS = frozenset({aten.mul.Tensor, aten.mul_.Tensor, aten.div.Tensor, aten.div_.Tensor})
WITH_NUMBERS = SCALED | PRODUCTS | {aten.rsub.Scalar}


def spell_out_numbers(graph: fx.Graph) -> None:
    """Rewrite the sums, products and quotients of an exported program's graph, in place."""
    for node in list(graph.nodes):
        if node.target in WITH_NUMBERS and _floats(node):
            node.args = tuple(float(each) if type(each) is int else each for each in node.args)
        if node.target in SCALED and _floats(node) and node.kwargs.get("alpha", 1) != 1:
            _scale_apart(graph, node)
        if node.target in (aten.reciprocal.default, aten.reciprocal_.default):
            node.target, node.args = aten.div.Tensor, (1.0, *node.args)  # torch makes tensors of plain numbers


def _floats(node: fx.Node) -> bool:
    value: Any = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dtype.is_floating_point


def _scale_apart(graph: fx.Graph, node: fx.Node) -> None:
    """Write add(x, y, alpha=a) as add(x, mul(y, a))."""
    first, second, *others = node.args
    factor = float(node.kwargs["alpha"])  # type: ignore[arg-type]  # a number
    if isinstance(second, fx.Node):
        with graph.inserting_before(node):
            scaled = graph.call_function(aten.mul.Tensor, (second, factor))
        scaled.meta = {**second.meta, "val": second.meta["val"] * factor}
        node.args = (first, scaled, *others)
    else:
        node.args = (first, second * factor, *others)  # type: ignore[operator]  # a number
    node.kwargs = {key: value for key, value in node.kwargs.items() if key != "alpha"}
