"""A TFLite file that asks XNNPACK to compute in half precision, where the core has it.

    metadata "reduced_precision_support": "fp16accfp16"    XNNPACK computes all it has in float16 on ARM cores with
                                                           half-precision arithmetic, and in float32 on all others
    constant → RESHAPE → BATCH_MATMUL                      a product whose left operand is a constant XNNPACK refuses
                                                           to prepare in float16 (ai-edge-litert 2.3), and the file
                                                           does not open there; of a computed one it takes it

    pools                                                  as MEAN; AVERAGE_POOL_2D overflows on an emulated core, as
                                                           if it added up in float16 before it divides

Inputs and outputs stay float32.
"""

from __future__ import annotations

import numpy as np

from dcd_deploy.export.rounding import HALF_NORMAL
from dcd_deploy.export.tflite.file import TfliteModel, schema, text_of
from dcd_deploy.export.tflite.quantised.pools import new_tensor, reshape, with_means
from dcd_deploy.export.tflite.quantised.roles import is_constant

KEY, ACCUMULATED_IN_HALF = "reduced_precision_support", b"fp16accfp16"


def suiting_half(content: bytes) -> bytes:
    """Return a model without sums that overflow, and without operators that XNNPACK lacks in half precision.

    It computes the same.
    """
    model = TfliteModel.from_bytes(content)
    with_means(model)
    _with_computed_operands(model)
    return model.to_bytes()


def _with_computed_operands(model: TfliteModel) -> None:
    """Let no product have a constant as its left operand, in place."""
    written = []
    made = {int(tensor) for operator in model.graph.operators for tensor in operator.outputs}
    for operator in model.graph.operators:
        left = int(operator.inputs[0]) if len(operator.inputs) else -1
        if model.operator_name(operator) == "BATCH_MATMUL" and left not in made:
            place = text_of(model.graph.tensors[operator.outputs[0]].name).rpartition("/")[0]
            computed = new_tensor(model, model.graph.tensors[left].shape, f"{place}/reshape")
            written.append(reshape(model, left, computed))
            operator.inputs = [computed, *operator.inputs[1:]]
        written.append(operator)
    model.graph.operators = written


def asking_for_half(content: bytes) -> bytes:
    """Return the same model with the metadata that XNNPACK reads."""
    model = TfliteModel.from_bytes(content)
    buffer, entry = schema().BufferT(), schema().MetadataT()
    buffer.data = np.frombuffer(ACCUMULATED_IN_HALF, np.uint8)
    model.root.buffers.append(buffer)
    entry.name, entry.buffer = KEY, len(model.root.buffers) - 1
    model.root.metadata = [*(model.root.metadata or ()), entry]
    return model.to_bytes()


def flushed(content: bytes) -> bytes:
    """Return the model with zero for constants below 6e-5, half precision's least normal number: ARM seems to do so."""
    model = TfliteModel.from_bytes(content)
    kinds = {schema().TensorType.FLOAT16: np.float16, schema().TensorType.FLOAT32: np.float32}
    for tensor in model.graph.tensors:
        buffer = model.root.buffers[tensor.buffer]
        if tensor.type in kinds and buffer.data is not None and len(buffer.data):
            values = np.frombuffer(memoryview(buffer.data), kinds[tensor.type]).copy()
            values[np.abs(values) < HALF_NORMAL] = 0
            buffer.data = values.view(np.uint8)
    return model.to_bytes()


def pooled_sizes(content: bytes) -> dict[str, tuple[str, int]]:
    """Return for each pool, by its output's name, the map that it reads, and how many values it sums up."""
    model = TfliteModel.from_bytes(content)
    names = [text_of(tensor.name) for tensor in model.graph.tensors]
    return {
        names[int(each.outputs[0])]: (
            names[int(each.inputs[0])],
            int(each.builtinOptions.filterHeight) * int(each.builtinOptions.filterWidth),
        )
        for each in model.graph.operators
        if model.operator_name(each) == "AVERAGE_POOL_2D" and not is_constant(model, int(each.inputs[0]))
    }
