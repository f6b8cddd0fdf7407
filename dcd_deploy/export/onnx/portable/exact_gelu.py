"""The exact GELU in the order in which most runtimes know it, and none crashes.

    x · ((1 + Erf(x / √2)) · ½)          →          (x · ½) · (1 + Erf(x / √2))
    s · GELU(x)                          →          s · Reshape(GELU(x))

The first is torch's exporter's order. OpenCV, 4 and 5, crashes on opening it; onnxruntime and OpenVINO know the second
for one operator, and are quicker. A third, (x · (1 + Erf(x / √2))) · ½, MNN takes for an approximation (1e-4).
OpenCV crashes on the second too where a product reads it, as of a gate (squeeze-excitation), and not on the third.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from dcd_deploy.export.onnx.portable.rewriting import (
    Value,
    added_constant,
    before,
    constant,
    maker,
    nodes_of,
    replace,
    sizes_for_reshape,
)


def exact_gelu(graph: ir.Graph) -> None:
    """Halve what goes into a GELU in place of its gate, and keep products apart from it."""
    for node in nodes_of(graph, "Mul"):
        for value, halved in (node.inputs, node.inputs[::-1]):
            parts = _parts(halved, "Mul")
            if parts is not None and _is_gate_of(value, parts[0]):
                replace(node, "Mul", [before(node, "Mul", [value, parts[1]], "half"), parts[0]])
                break
    for node in nodes_of(graph, "Mul"):
        for place, value in enumerate(node.inputs):
            if _is_gelu(value) and (sizes := sizes_for_reshape(value)) is not None:
                shape = added_constant(graph, f"{node.outputs[0].name}.sizes{place}", np.array(sizes, np.int64))
                apart = before(node, "Reshape", [value, shape], f"apart{place}")
                apart.shape = None if value is None else value.shape
                node.replace_input_with(place, apart)


def _is_gelu(value: Value) -> bool:
    """Whether a value is a product of computed values, one of them a + Erf(…)."""
    node = maker(value, "Mul")
    computed = node is not None and all(constant(factor) is None for factor in node.inputs)
    sums = [_parts(factor, "Add") for factor in node.inputs] if node is not None and computed else []
    return any(parts is not None and maker(parts[0], "Erf") is not None for parts in sums)


def _parts(value: Value, operator: str) -> tuple[ir.Value, ir.Value] | None:
    """Return the operands of an operator that makes a value: what is computed, and a single number."""
    node = maker(value, operator)
    for computed, number in () if node is None else (node.inputs, node.inputs[::-1]):
        numbers = constant(number)
        if computed is not None and number is not None and numbers is not None and numbers.size == 1:
            return computed, number
    return None


def _is_gate_of(value: Value, gate: ir.Value) -> bool:
    """Whether a gate is a + Erf(b · value), a and b numbers."""
    summed = _parts(gate, "Add")
    erf = None if summed is None else maker(summed[0], "Erf")
    scaled = [] if erf is None else [_parts(erf.inputs[0], operator) for operator in ("Div", "Mul")]
    return any(parts is not None and parts[0] is value for parts in scaled)
