"""Every second row or column of a map as a pooling of single pixels.

    x (N, C, H, W) → Slice<axis 2 or 3, step s>          →          x → Slice<step 1> → MaxPool<1×1, stride s>

For ncnn alone, whose converter takes steps of one (YOLOv5's Focus).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from dcd_deploy.export.onnx.portable.rewriting import added_constant, before, constant, nodes_of, replace

PLANE = (2, 3)


def pooled_steps(graph: ir.Graph) -> None:
    """Write slices of a map's sides by steps as poolings."""
    for node in nodes_of(graph, "Slice"):
        value, *given = node.inputs
        parts = [constant(each) for each in given]
        rank = None if value is None or value.shape is None else len(value.shape)
        if rank != 4 or len(parts) != 4 or any(part is None for part in parts):
            continue
        axes, steps = ([int(number) for number in part] for part in parts[2:] if part is not None)
        strides = {axis % rank: step for axis, step in zip(axes, steps, strict=True)}
        if min(steps) < 1 or max(steps) == 1 or not strides.keys() <= set(PLANE):
            continue
        ones = added_constant(graph, f"{node.outputs[0].name}.steps", np.ones(len(steps), np.int64))
        part = before(node, "Slice", [value, *given[:3], ones], "every")
        replace(node, "MaxPool", [part], kernel_shape=[1, 1], strides=[strides.get(axis, 1) for axis in PLANE])
