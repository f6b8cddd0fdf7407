"""Ranges over the calibration images: the least and largest value of each map that is computed, or comes in."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.errors import VerificationError
from dcd_deploy.export.tflite.file import TfliteModel, schema, text_of
from dcd_deploy.export.tflite.quantised.roles import is_constant
from dcd_deploy.native_output import captured_native_output
from dcd_deploy.optional import require
from dcd_deploy.samples import Images, Inputs

# Of a map that training or pruning has silenced: steps in which 32 bits hold an activation's bound and the next biases
SILENT, SILENT_HIGH = 2.0**-20, 0.25
Ranges = dict[str, dict[str, NDArray[np.float32]]]  # by tensor, as ai-edge-quantizer takes them


def mean_squares(model: TfliteModel, images: Images) -> dict[str, float]:
    """Return the mean square of each map, over images as the input has them."""
    tensors, sums = _computed(model), np.zeros(len(_computed(model)))
    interpreter = _interpreter(model.to_bytes())
    entry = interpreter.get_input_details()[0]["index"]
    for i in range(len(images)):
        interpreter.set_tensor(entry, images[i : i + 1])
        interpreter.invoke()
        sums += [float(np.square(interpreter.get_tensor(tensor), dtype=np.float64).mean()) for tensor in tensors]
    names = [text_of(model.graph.tensors[tensor].name) for tensor in tensors]
    return dict(zip(names, sums / len(images), strict=True))


def channels_last(values: Images) -> Images:
    """Return maps (N, C, H, W) as (N, H, W, C); what is no map stays as it is."""
    return np.ascontiguousarray(values.transpose(0, 2, 3, 1)) if values.ndim == 4 else values


def measured(model: TfliteModel, inputs: Inputs) -> Ranges:
    """Run the graph on all inputs (N, …), as the file has them, one by one.

    Raises:
        VerificationError: a map is not finite.
    """
    tensors = _computed(model)
    lows, highs = np.full(len(tensors), np.inf, np.float32), np.full(len(tensors), -np.inf, np.float32)
    interpreter = _interpreter(model.to_bytes())
    for i in range(len(inputs[0])):
        for entry, values in zip(model.graph.inputs, inputs, strict=True):
            interpreter.set_tensor(int(entry), values[i : i + 1])
        interpreter.invoke()
        for place, tensor in enumerate(tensors):
            values = interpreter.get_tensor(tensor)
            lows[place] = np.minimum(lows[place], values.min())
            highs[place] = np.maximum(highs[place], values.max())
    names = [text_of(model.graph.tensors[tensor].name) for tensor in tensors]
    for name, low, high in zip(names, lows, highs, strict=True):
        if not np.isfinite([low, high]).all():
            raise VerificationError(f"expected finite values on the calibration images, found others in '{name}'")
    highs[np.maximum(np.abs(lows), np.abs(highs)) < SILENT] = SILENT_HIGH
    return {
        name: {"min": _as_scale(low), "max": _as_scale(high)}
        for name, low, high in zip(names, lows, highs, strict=True)
    }


def _as_scale(value: np.float32) -> NDArray[np.float32]:
    return np.full((1, 1, 1, 1), value, np.float32)


def _computed(model: TfliteModel) -> list[int]:
    """Return the float tensors that are no constants, nor made of those that are stored small."""
    unpacked = {int(each.outputs[0]) for each in model.graph.operators if model.operator_name(each) == "DEQUANTIZE"}
    floats = (i for i, tensor in enumerate(model.graph.tensors) if tensor.type == schema().TensorType.FLOAT32)
    return [tensor for tensor in floats if not is_constant(model, tensor) and tensor not in unpacked]


def _interpreter(content: bytes) -> Any:
    """Return an interpreter that keeps what every operator computes."""
    with captured_native_output(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it needs memory
        found = require("ai_edge_litert.interpreter").Interpreter(
            model_content=content, num_threads=1, experimental_preserve_all_tensors=True
        )
        found.allocate_tensors()
    return found
