"""A TFLite model with its large weights stored small: constant → DEQUANTIZE → where the weight was.

XNNPACK, and the plain kernels, compute it once, before the first run, and run the graph that they had before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.export.naming import free_name
from dcd_deploy.export.rounding import Encoded, encoded
from dcd_deploy.export.tflite.file import TfliteModel, schema, text_of

SCALE_BYTES = 12  # with its zero point
VERSIONS = {"float16": 3, "int8": 5}  # of DEQUANTIZE: that takes half precision, and that takes scales along an axis


def store_tflite(content: bytes, weights: str) -> bytes:
    """Return a model whose large weights are stored as ``weights``; what it computes is the same."""
    model = TfliteModel.from_bytes(content)
    places = _places(model)
    taken = {text_of(tensor.name) for tensor in model.graph.tensors}
    done: list[Any] = []
    for index, values in constants(model):
        found = encoded(values, weights)
        if found is not None and (found.scale is None or found.numbers.dtype == np.int8):
            done.append(_stored(model, index, found))
            if place := places.get(index):
                model.graph.tensors[index].name = free_name(f"{place}/dequantize", taken).encode()
    if done:
        code = _operator_code(model, VERSIONS[weights])
        for operator in done:
            operator.opcodeIndex = code
        model.graph.operators = [*done, *model.graph.operators]
    _drop_unread(model)
    return model.to_bytes()


def tflite_weights(content: bytes) -> Iterator[NDArray[np.float32]]:
    """Yield the constants of floats."""
    return (values for _, values in constants(TfliteModel.from_bytes(content)))


def constants(model: TfliteModel) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the float tensors that have values, by their index."""
    for index, tensor in enumerate(list(model.graph.tensors)):
        data = model.root.buffers[tensor.buffer].data
        if tensor.type == schema().TensorType.FLOAT32 and data is not None and len(data):
            yield index, np.frombuffer(memoryview(data), np.float32).reshape([int(side) for side in tensor.shape])


def _places(model: TfliteModel) -> dict[int, str]:
    """Return for each tensor the layer, and the place within it, of the operator that reads it first."""
    names = {
        int(tensor): text_of(model.graph.tensors[operator.outputs[0]].name)
        for operator in reversed(model.graph.operators)
        for tensor in operator.inputs
    }
    return {tensor: name.rpartition("/")[0] for tensor, name in names.items()}


def _stored(model: TfliteModel, index: int, found: Encoded) -> Any:
    """Give a weight's numbers a tensor of their own; return the operator that makes the weight of it."""
    weight, small, buffer = model.graph.tensors[index], schema().TensorT(), schema().BufferT()
    buffer.data = np.ascontiguousarray(found.numbers).reshape(-1).view(np.uint8)
    model.root.buffers.append(buffer)
    small.buffer, weight.buffer = len(model.root.buffers) - 1, 0
    small.shape = weight.shape
    small.name = f"stored.{index}".encode()
    small.type = schema().TensorType.FLOAT16 if found.scale is None else schema().TensorType.INT8
    small.quantization = None if found.scale is None else _quantization(found)
    model.graph.tensors.append(small)
    operator = schema().OperatorT()
    operator.inputs, operator.outputs = [len(model.graph.tensors) - 1], [index]
    return operator


def _quantization(found: Encoded) -> Any:
    assert found.scale is not None
    quantization = schema().QuantizationParametersT()
    quantization.scale = found.scale
    quantization.zeroPoint = np.zeros(len(found.scale), np.int64)
    quantization.quantizedDimension = found.axis
    return quantization


def _operator_code(model: TfliteModel, version: int) -> int:
    """Add the operator DEQUANTIZE; return its number."""
    code = schema().OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema().BuiltinOperator.DEQUANTIZE
    code.version = version
    model.root.operatorCodes.append(code)
    return len(model.root.operatorCodes) - 1


def _drop_unread(model: TfliteModel) -> None:
    """Empty the buffers that no tensor and no metadata reads any more."""
    read = {int(tensor.buffer) for tensor in model.graph.tensors}
    read |= {int(entry.buffer) for entry in model.root.metadata or ()}
    for index, buffer in enumerate(model.root.buffers):
        if index not in read:
            buffer.data = None
