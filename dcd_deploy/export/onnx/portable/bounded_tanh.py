"""A tanh of values that are near enough to zero.

    Tanh(x)          →          Tanh(Clip(x, −20, 20))

OpenCV 5 gives not a number beyond 44, silently. From 20 on a tanh is one, in float64 too.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from dcd_deploy.export.onnx.portable.rewriting import added_constant, before, nodes_of, replace

FAR = 20.0


def bounded_tanh(graph: ir.Graph) -> None:
    """Bound what goes into every tanh."""
    for node in nodes_of(graph, "Tanh"):
        kind = node.outputs[0].type
        assert kind is not None  # shapes and types are inferred
        ends = [added_constant(graph, f"tanh_{end:g}", np.array(end, kind.dtype.numpy())) for end in (-FAR, FAR)]
        replace(node, "Tanh", [before(node, "Clip", [node.inputs[0], *ends], "bounded")])
