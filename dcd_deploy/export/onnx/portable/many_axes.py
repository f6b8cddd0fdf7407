"""Unsqueeze by several axes as a Reshape.

    (N, K) → Unsqueeze<axes 2, 3>          →      (N, K) → Reshape to (N, K, 1, 1)

OpenCV 4 refuses it: "Multidimensional unsqueeze".
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from dcd_deploy.export.onnx.portable.rewriting import added_constant, constant, nodes_of, replace, sizes_for_reshape


def many_axes(graph: ir.Graph) -> None:
    """Write every Unsqueeze by several axes as a Reshape; those of more than one free size stay."""
    for node in nodes_of(graph, "Unsqueeze"):
        axes, sizes = constant(node.inputs[1]), sizes_for_reshape(node.outputs[0])
        if axes is not None and axes.size > 1 and sizes is not None:
            shape = added_constant(graph, f"{node.outputs[0].name}.shape", np.array(sizes, np.int64))
            replace(node, "Reshape", [node.inputs[0], shape])
