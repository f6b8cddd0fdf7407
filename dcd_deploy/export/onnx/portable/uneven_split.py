"""A Split in unequal parts as Slices.

    a, b = Split<axis>(x, (K, L))          →      a = Slice(x, 0, K), b = Slice(x, K, K + L)

For NNAPI alone, which splits in equal parts.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from dcd_deploy.export.onnx.portable.rewriting import added_constant, attribute, before, constant, nodes_of


def uneven_split(graph: ir.Graph) -> None:
    """Write every Split in parts of constant, unequal sizes as Slices."""
    for node in nodes_of(graph, "Split"):
        sizes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
        if sizes is not None and len(set(sizes.tolist())) > 1:
            _as_slices(graph, node, np.cumsum([0, *sizes.tolist()]))


def _as_slices(graph: ir.Graph, node: ir.Node, bounds: np.ndarray) -> None:
    axis = attribute(node, "axis", 0)
    for i, output in enumerate(node.outputs):
        values = (bounds[i : i + 1], bounds[i + 1 : i + 2], np.array([axis]))
        given = [added_constant(graph, f"{output.name}.slice", value.astype(np.int64)) for value in values]
        part = before(node, "Slice", [node.inputs[0], *given], f"part_{i}")
        part.shape = output.shape
        ir.convenience.replace_all_uses_with(output, part, replace_graph_outputs=True)
        part.name, output.name = output.name, None
    graph.remove(node, safe=True)
