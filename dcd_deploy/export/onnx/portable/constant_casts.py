"""A constant in the type in which it is used.

    CastLike(c, x)          →          c

torch's exporter writes one for each number in a norm of groups or a softplus; OpenCV 4 refuses the file.
"""

from __future__ import annotations

import onnx_ir as ir

from dcd_deploy.export.onnx.portable.rewriting import added_constant, constant, nodes_of


def constant_casts(graph: ir.Graph) -> None:
    """Cast constants once, here."""
    for node in nodes_of(graph, "CastLike"):
        value, like = node.inputs
        values, kind, cast = constant(value), None if like is None else like.type, node.outputs[0]
        if value is None or values is None or kind is None or cast.is_graph_output():
            continue
        same = value.type is not None and value.type.dtype == kind.dtype
        made = value if same else added_constant(graph, f"{cast.name}.cast", values.astype(kind.dtype.numpy()))
        ir.convenience.replace_all_uses_with(cast, made)
        graph.remove(node, safe=True)
