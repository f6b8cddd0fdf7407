"""The mean of a large map in two steps: along its last axis, then of what that gives.

    ReduceMean<axes 2, 3>(x)          →      ReduceMean<axes 2, 3>(ReduceMean<axis 3, keepdims>(x))

MNN and OpenCV 4 add up in float32, one value after the other. Of 112×112 values that is off so far that the outputs of
MobileNetV2-DCD ×0.5 were off by 1.0e-4 of their range; of 112 sums of 112 by 1e-5.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from dcd_deploy.export.portable.rewriting import added_constant, before, constant

LARGE = 2048  # values; 2048 positive ones, added one by one, are off by about 1e-5


class LargeMean(ir.passes.InPlacePass):
    """Take means of many values in two steps, where the sizes are known."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite, in place."""
        changed = False
        for node in tuple(model.graph):
            if node.domain == "" and node.op_type == "ReduceMean" and (axes := _many(node)):
                last = added_constant(model.graph, f"{node.outputs[0].name}.last", np.array(axes[-1:], np.int64))
                value = node.inputs[0]
                along = before(node, "ReduceMean", [value, last], "along", keepdims=1)
                assert value is not None and value.shape is not None
                along.shape = ir.Shape(1 if axis == axes[-1] else size for axis, size in enumerate(value.shape))
                node.replace_input_with(0, along)
                changed = True
        return ir.passes.PassResult(model, changed)


def _many(node: ir.Node) -> list[int]:
    """Return the axes of a mean, sorted, where it takes two or more, and many values; else none."""
    value, axes = node.inputs[0], constant(node.inputs[1] if len(node.inputs) > 1 else None)
    if value is None or value.shape is None or axes is None or axes.size < 2:
        return []
    within = sorted(int(axis) % len(value.shape) for axis in axes)
    sizes = [value.shape[axis] for axis in within]
    if not all(isinstance(size, int) for size in sizes):
        return []
    return within if math.prod(int(size) for size in sizes) >= LARGE else []  # type: ignore[arg-type]  # they are
