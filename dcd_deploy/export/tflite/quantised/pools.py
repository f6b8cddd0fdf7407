"""Pooling over cells that do not overlap, as MEAN, which XNNPACK computes in int8; AVERAGE_POOL_2D it does not.

    one cell          x (N, H, W, C) → MEAN over H and W                                        (N, 1, 1, C)
    r × s cells       x → RESHAPE (N·r, H/r, s, W/s·C as it lies) → MEAN over H/r and W/s       (N, r, s, C)

Cells that overlap, as 2×2 on 7×7, stay as they are, and are pooled in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dcd_deploy.export.tflite.copies import operator_number
from dcd_deploy.export.tflite.file import TfliteModel, schema, text_of

VERSIONS = {"MEAN": 2, "RESHAPE": 1}  # that take int8


def with_means(model: TfliteModel) -> None:
    """Write every AVERAGE_POOL_2D over cells that do not overlap as MEAN, in place."""
    written: list[Any] = []
    for operator in model.graph.operators:
        written += _as_mean(model, operator) if _is_mean(model, operator) else [operator]
    model.graph.operators = written


def _is_mean(model: TfliteModel, operator: Any) -> bool:
    if model.operator_name(operator) != "AVERAGE_POOL_2D" or operator.builtinOptions.fusedActivationFunction:
        return False
    (_, height, width, _), (_, rows, columns, _) = _shapes(model, operator)
    options = operator.builtinOptions
    cells = ((height, rows, options.filterHeight), (width, columns, options.filterWidth))
    return all(size == count * filtered for size, count, filtered in cells)


def _as_mean(model: TfliteModel, operator: Any) -> list[Any]:
    (n, height, width, channels), (_, rows, columns, _) = _shapes(model, operator)
    source, pooled = int(operator.inputs[0]), int(operator.outputs[0])
    if (rows, columns) == (1, 1):
        return [_mean(model, source, pooled, (1, 2), keep=True)]
    name = text_of(model.graph.tensors[pooled].name)
    cells = new_tensor(model, (n * rows, height // rows, columns, width // columns, channels), f"{name}/cells")
    means = new_tensor(model, (n * rows, columns, channels), f"{name}/mean")
    return [
        reshape(model, source, cells),
        _mean(model, cells, means, (1, 3), keep=False),
        reshape(model, means, pooled),
    ]


def _shapes(model: TfliteModel, operator: Any) -> list[tuple[int, ...]]:
    return [tuple(map(int, model.graph.tensors[i].shape)) for i in (operator.inputs[0], operator.outputs[0])]


def _mean(model: TfliteModel, source: int, result: int, axes: Sequence[int], *, keep: bool) -> Any:
    options = schema().ReducerOptionsT()
    options.keepDims = keep
    return _operator(model, "MEAN", [source, _numbers(model, axes)], result, options, "ReducerOptions")


def reshape(model: TfliteModel, source: int, result: int) -> Any:
    """Return the operator that gives a tensor the shape of another; none of them is in the graph yet."""
    options = schema().ReshapeOptionsT()
    options.newShape = shape = list(map(int, model.graph.tensors[result].shape))
    return _operator(model, "RESHAPE", [source, _numbers(model, shape)], result, options, "ReshapeOptions")


def _operator(model: TfliteModel, name: str, inputs: list[int], output: int, options: Any, kind: str) -> Any:
    operator = schema().OperatorT()
    operator.opcodeIndex = operator_number(model, schema(), name, VERSIONS[name])
    operator.inputs, operator.outputs = inputs, [output]
    operator.builtinOptions, operator.builtinOptionsType = options, getattr(schema().BuiltinOptions, kind)
    return operator


def _numbers(model: TfliteModel, values: Sequence[int]) -> int:
    """Add a constant of whole numbers."""
    index = new_tensor(model, (len(values),), f"numbers.{len(model.graph.tensors)}")
    buffer = schema().BufferT()
    buffer.data = np.array(values, np.int32).view(np.uint8)
    model.root.buffers.append(buffer)
    tensor = model.graph.tensors[index]
    tensor.type, tensor.buffer = schema().TensorType.INT32, len(model.root.buffers) - 1
    return index


def new_tensor(model: TfliteModel, shape: Sequence[int], name: str) -> int:
    """Add a tensor of floats that is to be computed; return its index."""
    tensor = schema().TensorT()
    tensor.shape, tensor.type, tensor.buffer, tensor.name = list(shape), schema().TensorType.FLOAT32, 0, name.encode()
    model.graph.tensors.append(tensor)
    return len(model.graph.tensors) - 1
