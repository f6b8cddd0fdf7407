"""Channels that training or pruning has silenced, of which a bias is left: y[k] = b[k].

ai-edge-quantizer gives a channel without weights the least step there is, in which 32 bits do not hold its bias. Here
such a channel gets a step that is a part of the layer's largest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.export.rounding import SILENT
from dcd_deploy.export.tflite.file import TfliteModel, schema
from dcd_deploy.export.tflite.quantised.numbers import numbers_of, without_added


def hold_biases(model: TfliteModel, made: TfliteModel) -> None:
    """Give silenced channels of a graph in int8 steps that hold the biases of the float32 graph it was made of."""
    # Whether they are the same operators, ``check_numbers`` looks
    for old, new in zip(model.graph.operators, without_added(made), strict=False):
        if len(old.inputs) == len(new.inputs) == 3 and min(*old.inputs, *new.inputs) >= 0:
            entry, weight, bias = (made.graph.tensors[i] for i in new.inputs)
            if weight.type == schema().TensorType.INT8 and bias.type == schema().TensorType.INT32:
                _hold(entry, weight, bias, made, numbers_of(model, model.graph.tensors[old.inputs[2]]))


def _hold(entry: Any, weight: Any, bias: Any, made: TfliteModel, wanted: NDArray[np.float32]) -> None:
    steps = np.array(weight.quantization.scale, np.float32)
    axis = int(weight.quantization.quantizedDimension) if len(steps) > 1 else None
    numbers = numbers_of(made, weight)
    rows = numbers.reshape(1, -1) if axis is None else np.moveaxis(numbers, axis, 0).reshape(len(steps), -1)
    silent = ~rows.any(axis=1)
    if not silent.any() or len(steps) not in (1, len(wanted)):
        return
    steps[silent] = (steps[~silent].max(initial=0.0) or 1.0) * SILENT
    products = (steps * np.float32(entry.quantization.scale[0])).astype(np.float32)
    biases = numbers_of(made, bias).copy()
    chosen = silent if len(steps) > 1 else slice(None)
    biases[chosen] = np.rint(wanted.astype(np.float64) / products)[chosen]
    weight.quantization.scale, bias.quantization.scale = steps.tolist(), products.tolist()
    made.root.buffers[bias.buffer].data = biases.view(np.uint8)
