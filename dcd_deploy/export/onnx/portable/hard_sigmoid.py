"""HardSigmoid as a Clip, its slope α and offset β folded into the product before it.

    v = Gemm(a, W, b)                        v' = Gemm(a, α W, α b + β)
    y = HardSigmoid<α, β>(v)          →      y  = Clip(v', 0, 1)

The same for Conv with constant weights. Where the product has other readers, or none is there, α and β are a Mul and an
Add. OpenCV 5 takes a · HardSigmoid(g) for HardSwish(g) without asking whether a is g, and gives another function;
NNAPI has no HardSigmoid at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from dcd_deploy.export.onnx.portable.rewriting import added_constant, attribute, before, constant, nodes_of, replace

PRODUCTS = ("Gemm", "Conv")


def hard_sigmoid(graph: ir.Graph) -> None:
    """Write every HardSigmoid of a graph as a Clip."""
    for node in nodes_of(graph, "HardSigmoid"):
        slope, offset = attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5)
        value = node.inputs[0]
        assert value is not None
        product = value.producer()
        if product is not None and _foldable(product):
            _fold(graph, product, slope, offset)
        else:
            value = on_a_line(graph, node, slope, offset)
        replace(node, "Clip", [value, *bounds(graph, node)])


def on_a_line(graph: ir.Graph, node: ir.Node, slope: float, offset: float) -> ir.Value:
    """Return slope · x + offset of what a node reads."""
    kind = _kind(node)
    scale, shift = (added_constant(graph, name, np.array(v, kind)) for name, v in (("a", slope), ("b", offset)))
    return before(node, "Add", [before(node, "Mul", [node.inputs[0], scale], "scaled"), shift], "shifted")


def bounds(graph: ir.Graph, node: ir.Node) -> list[ir.Value]:
    """Return 0 and 1, between which a gate stays."""
    return [added_constant(graph, f"clip_{bound}", np.array(bound, _kind(node))) for bound in (0, 1)]


def _kind(node: ir.Node) -> Any:
    assert node.outputs[0].type is not None  # shapes and types are inferred
    return node.outputs[0].type.dtype.numpy()


def _foldable(product: ir.Node) -> bool:
    """Whether only the sigmoid reads a product, and all else in it is constant."""
    out, bias = product.outputs[0], product.inputs[2] if len(product.inputs) > 2 else None
    return (
        product.op_type in PRODUCTS
        and len(out.uses()) == 1
        and not out.is_graph_output()
        and constant(product.inputs[1]) is not None
        and (bias is None or constant(bias) is not None)
        and attribute(product, "alpha", 1.0) == attribute(product, "beta", 1.0) == 1.0
    )


def _fold(graph: ir.Graph, product: ir.Node, slope: float, offset: float) -> None:
    weight, bias = constant(product.inputs[1]), constant(product.inputs[2] if len(product.inputs) > 2 else None)
    assert weight is not None
    axis = 0 if product.op_type == "Conv" or attribute(product, "transB", 0) else 1
    if bias is None:
        bias = np.zeros(weight.shape[axis], weight.dtype)
    shifted = (bias * np.float64(slope) + np.float64(offset)).astype(weight.dtype)
    name = str(product.outputs[0].name)
    product.resize_inputs(3)
    for place, values in ((1, (weight * np.float64(slope)).astype(weight.dtype)), (2, shifted)):
        old = product.inputs[place]
        if old is not None and len(old.uses()) == 1:  # it keeps its name
            old.const_value = ir.tensor(values, name=old.name)
        else:
            product.replace_input_with(place, added_constant(graph, f"{name}.{place}", values))
