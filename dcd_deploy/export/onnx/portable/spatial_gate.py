"""A map of one channel beside one of several, where a convolution makes it.

    Mul(x (N, C, H, W), Sigmoid(Conv(y)) (N, 1, H, W))     →     Mul(x, Reshape(Sigmoid(Conv(y)), (N, 1, H, W)))

The Reshape does nothing. Without it OpenCV 5 makes product and convolution one, of the wrong size, and refuses the
file when it runs it: spatial attention (CBAM), and the gates of an attention U-Net.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from dcd_deploy.export.onnx.portable.rewriting import Value, added_constant, before, maker, nodes_of, sizes_for_reshape


def spatial_gate(graph: ir.Graph) -> None:
    """Put a Reshape between a convolution to one channel and what spreads it over several."""
    for node in nodes_of(graph, "Mul", "Add", "Sub"):
        for place, (gate, other) in enumerate((node.inputs, node.inputs[::-1])):
            sizes = sizes_for_reshape(gate)
            if sizes is None or not _is_spread(sizes, other) or not _is_convolved(gate):
                continue
            shape = added_constant(graph, f"{node.outputs[0].name}.gate", np.array(sizes, np.int64))
            node.replace_input_with(place, before(node, "Reshape", [gate, shape], "gate"))


def _is_spread(sizes: list[int], over: Value) -> bool:
    """Whether a map has one channel, several pixels, and meets a map of several channels."""
    wide = None if over is None or over.shape is None else over.shape
    return wide is not None and len(wide) == len(sizes) == 4 and sizes[1] == 1 != wide[1] and sizes[2] * sizes[3] > 1


def _is_convolved(value: Value) -> bool:
    """Whether a convolution makes a value, or does but for one operator behind it."""
    node = None if value is None else value.producer()
    behind = node.inputs[0] if node is not None and node.inputs else None
    return maker(value, "Conv") is not None or maker(behind, "Conv") is not None
