"""A graph in int8 as ARM computes it, on an x86 whose sums of weights of 8 bits are cut off (``runtimes.saturation``).

    w in int8, zero point 0   →   w + 128 in uint8, zero point 128

The same whole numbers: onnxruntime adds up products of uint8 and uint8 in 32 bits everywhere. It takes longer, so files
keep to int8; here it is what they are judged by.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from dcd_deploy.export.verify import Runner
from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession
from dcd_deploy.runtimes.saturation import saturates

MIDDLE = 128
WEIGHTS, ZERO = 3, 5  # inputs of a QLinearConv


def exact_session(model: onnx.ModelProto, threads: int = 0) -> OnnxRuntimeSession:
    """Return what runs a graph in int8 with sums that nothing is cut off from."""
    return OnnxRuntimeSession((in_uint8(model) if saturates() else model).SerializeToString(), threads)


def exact_runner(model: onnx.ModelProto) -> Runner:
    """Return what runs a graph in int8 so, and gives all outputs."""
    return exact_session(model).run_all


def in_uint8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with the weights of all its QLinearConv in uint8; those that are computed are quantised so."""
    moved = onnx.ModelProto()
    moved.CopyFrom(model)
    graph = moved.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    added: dict[str, onnx.TensorProto] = {}
    for node in graph.node:
        if node.op_type != "QLinearConv":
            continue
        weights, zero = node.input[WEIGHTS], node.input[ZERO]
        middle = f"{zero}.uint8"
        added[middle] = numpy_helper.from_array(np.full(constants[zero].dims, MIDDLE, np.uint8), middle)
        node.input[ZERO] = middle
        if weights in constants:
            values = numpy_helper.to_array(constants[weights]).astype(np.int16) + MIDDLE
            node.input[WEIGHTS] = f"{weights}.uint8"
            added[f"{weights}.uint8"] = numpy_helper.from_array(values.astype(np.uint8), f"{weights}.uint8")
        else:
            makers[weights].input[2] = middle  # of the QuantizeLinear that makes them
    graph.initializer.extend(added.values())
    return moved
