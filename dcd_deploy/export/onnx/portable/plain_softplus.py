"""A softplus without a threshold from which on it is its input, as torch has it.

    Where(x > 20, x, Softplus(x) / 1)          →          Softplus(x)
    Where(β x > 20, x, Softplus(β x) / β)      →          Softplus(β x) · 1/β

From 20 on they differ by less than 3e-9, far below what float32 can tell there. ncnn does not load the words of the
threshold. Of a product, a softplus and a quotient its converter makes an operator that ncnn does not have.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from dcd_deploy.export.onnx.portable.rewriting import Value, added_constant, constant, maker, nodes_of, replace

LEAST = 20.0  # the threshold of torch


def plain_softplus(graph: ir.Graph) -> None:
    """Write every softplus with a high threshold as one operator."""
    for node in nodes_of(graph, "Where"):
        condition, value, other = node.inputs
        greater, divided = maker(condition, "Greater"), maker(other, "Div")
        softplus = None if divided is None else maker(divided.inputs[0], "Softplus")
        if greater is None or divided is None or softplus is None:
            continue
        scaled, slope = softplus.inputs[0], _number(divided.inputs[1])
        if scaled is None or greater.inputs[0] is not scaled or not _number(greater.inputs[1]) >= LEAST:
            continue
        if scaled is value and slope == 1:
            replace(node, "Softplus", [value])
        elif (
            slope > 0
            and (factor := constant(_factor(scaled, value))) is not None
            and factor.size == 1
            and factor.item() == slope
        ):
            inverse = added_constant(graph, f"{scaled.name}.inverse", np.asarray(1 / factor, factor.dtype))
            replace(node, "Mul", [softplus.outputs[0], inverse])


def _factor(product: Value, value: Value) -> Value:
    """Return what a product multiplies a value by, if it does."""
    node = maker(product, "Mul")
    for one, other in () if node is None else (node.inputs, node.inputs[::-1]):
        if one is value:
            return other
    return None


def _number(value: Value) -> float:
    """Return a single constant; not a number of another value."""
    found = constant(value)
    return float(found.item()) if found is not None and found.size == 1 else float(np.nan)
