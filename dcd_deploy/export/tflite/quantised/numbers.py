"""Whether the numbers of an int8 graph are those that the float32 graph and the ranges ask for, one by one.

    weight   |s q − w| ≤ s / 2,  s = max|w| / 127 of each output channel
    operand  of a sum or product of maps, a constant: |s (q − z) − w| ≤ s / 2,  s = (max w − min w) / 255
    bias     |s q − b| ≤ s / 2,  s = the map's scale times the weight's; both but for float32's own rounding
    map      s = (high − low) / 255,  |zero point + 128 + low / s| ≤ 1/2; a map that is only moved keeps its own
    others   in float32, their large constants stored in int8 (``rounding``) within half a step

The gate of the outputs sees what int8 costs as a whole, and would pass one wrong scale among hundreds. This finds it,
whoever wrote it: ai-edge-quantizer's work is checked, not trusted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.errors import VerificationError
from dcd_deploy.export.rounding import FEWEST
from dcd_deploy.export.tflite.file import TfliteModel, schema, text_of
from dcd_deploy.export.tflite.quantised.ranges import Ranges
from dcd_deploy.export.tflite.quantised.roles import is_constant

ADDED = ("QUANTIZE", "DEQUANTIZE")
MOVING = ("PAD", "RESHAPE", "MAX_POOL_2D", "CONCATENATION")
LEVELS, LARGEST, LOWEST = 255, 127, -128
SLACK = 1e-3  # of a step: scales and biases are float32
ROUNDED = 2.0**-21  # of a number: the rounding of float32 in its quotient by two scales; a bias is a million steps


@dataclass(frozen=True)
class _Scales:
    """The scales and zero points of a tensor of whole numbers."""

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int

    @classmethod
    def of(cls, tensor: Any) -> _Scales:
        found = tensor.quantization
        return cls(np.asarray(found.scale, np.float32), np.asarray(found.zeroPoint), int(found.quantizedDimension))

    def along(self, values: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return scales and zero points in the shape that goes with ``values``."""
        shape = [-1 if i == self.axis and len(self.scale) > 1 else 1 for i in range(values.ndim)]
        return self.scale.reshape(shape), self.zero_point.reshape(shape)


def check_numbers(model: TfliteModel, chosen: Collection[int], ranges: Ranges, made: TfliteModel) -> None:
    """Compare a graph in int8 with the float32 graph that it was made of, and the places of operators in int8.

    Raises:
        VerificationError: a number is another; the message names the tensor.
    """
    written = without_added(made)
    kinds = [[m.operator_name(each) for each in ops] for m, ops in ((model, model.graph.operators), (made, written))]
    if kinds[0] != kinds[1]:
        raise VerificationError("in int8: expected the operators of the float32 graph in their order, found others")
    sources = {int(each.outputs[0]): int(each.inputs[0]) for each in _added(made, "DEQUANTIZE")}
    for place, (old, new) in enumerate(zip(model.graph.operators, written, strict=True)):
        name = text_of(model.graph.tensors[old.outputs[0]].name)
        if (made.graph.tensors[new.outputs[0]].type == schema().TensorType.INT8) != (place in chosen):
            raise VerificationError(f"in int8: '{name}' is computed in another precision than its role asks for")
        _check_constants(model, made, old, new, sources, name)
        if place in chosen:
            _check_map(made, new, name, ranges)
    for each in _added(made, "QUANTIZE"):
        source = made.graph.tensors[each.inputs[0]]
        if source.type == schema().TensorType.FLOAT32:
            _check_map(made, each, text_of(source.name), ranges)


def without_added(made: TfliteModel) -> list[Any]:
    """Return the operators of a graph in int8 that the float32 graph has too, in its order."""
    return [each for each in made.graph.operators if made.operator_name(each) not in ADDED]


def _added(made: TfliteModel, kind: str) -> Iterator[Any]:
    return (each for each in made.graph.operators if made.operator_name(each) == kind)


def _check_constants(
    model: TfliteModel, made: TfliteModel, old: Any, new: Any, sources: dict[int, int], name: str
) -> None:
    for before, after in zip(old.inputs, new.inputs, strict=True):
        if before < 0 or not is_constant(model, before):
            continue
        tensor = model.graph.tensors[before]
        if tensor.type != schema().TensorType.FLOAT32:
            continue
        whole = made.graph.tensors[sources.get(int(after), int(after))]
        weight = numbers_of(model, tensor)
        found = numbers_of(made, whole).reshape(weight.shape)
        if whole.type == schema().TensorType.FLOAT32:
            _within(found - weight, np.abs(weight) * SLACK, name)
            continue
        scales = _Scales.of(whole)
        step, zero = scales.along(weight)
        limit = step * (0.5 + SLACK) + np.abs(weight) * ROUNDED
        _within(step * (found - zero) - weight, limit, name)
        if whole.type == schema().TensorType.INT8:
            _within(step, _least_step(weight, scales, FEWEST if int(after) in sources else LARGEST), name)


def _least_step(weight: NDArray[np.float32], scales: _Scales, steps: int) -> NDArray[np.float32] | float:
    """Return what a scale may be at most: that of the largest weight that it serves, in so many ``steps``."""
    if scales.zero_point.any():  # of a constant that is added to a map, or multiplied with one
        return float(max(weight.max(), 0) - min(weight.min(), 0)) / LEVELS * (1 + SLACK)
    axes = tuple(i for i in range(weight.ndim) if i != scales.axis or len(scales.scale) == 1)
    largest = np.abs(weight).max(axis=axes, keepdims=True)
    return np.where(largest > 0, largest / steps * (1 + SLACK), np.inf).astype(np.float32)


def _check_map(made: TfliteModel, operator: Any, name: str, ranges: Ranges) -> None:
    found = _Scales.of(made.graph.tensors[operator.outputs[0]])
    if made.operator_name(operator) in MOVING:
        own = _Scales.of(made.graph.tensors[operator.inputs[0]])
        if np.array_equal(own.scale, found.scale) and np.array_equal(own.zero_point, found.zero_point):
            return
    low, high = (float(ranges[name][end].item()) for end in ("min", "max"))
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / LEVELS
    _within(found.scale - np.float32(scale), scale * SLACK, name)
    _within(found.zero_point - (LOWEST - low / scale), 0.5 + SLACK, name)


def numbers_of(model: TfliteModel, tensor: Any) -> NDArray[Any]:
    """Return the values of a constant, in its shape."""
    types = {schema().TensorType.FLOAT32: np.float32, schema().TensorType.INT8: np.int8}
    data = memoryview(model.root.buffers[tensor.buffer].data)
    return np.frombuffer(data, types.get(tensor.type, np.int32)).reshape([int(side) for side in tensor.shape])


def _within(found: NDArray[Any], limit: NDArray[Any] | float, name: str) -> None:
    if not (np.abs(found) <= limit).all():
        raise VerificationError(f"in int8: a scale, zero point or weight of '{name}' is not what the ranges ask for")
