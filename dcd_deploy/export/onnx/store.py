"""An ONNX graph with its large weights stored small: constant → Cast → (Mul by its scales →) where the weight was.

onnxruntime computes both at load, once, and runs the graph that it had before. DequantizeLinear, which means the same,
it leaves to every run.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from dcd_deploy.export.naming import free_name
from dcd_deploy.export.rounding import Encoded, along, encoded

SCALE_BYTES = 4


def store_onnx(model: onnx.ModelProto, weights: str) -> onnx.ModelProto:
    """Return a copy whose large weights are stored as ``weights``; what it computes is the same."""
    stored = onnx.ModelProto()
    stored.CopyFrom(model)
    graph = stored.graph
    places = _places(graph)
    taken = {node.name for node in graph.node}
    kept: list[onnx.TensorProto] = []
    made: list[onnx.NodeProto] = []
    for tensor in graph.initializer:
        found = encoded(numpy_helper.to_array(tensor), weights) if _is_float(tensor) else None
        if found is None:
            kept.append(tensor)
        else:
            constants, nodes = _decoding(tensor.name, len(made), places.get(tensor.name, tensor.name), found)
            kept += constants
            made += nodes
    for node in made:
        node.name = free_name(node.name, taken)
    nodes = [*made, *graph.node]
    for field, values in ((graph.initializer, kept), (graph.node, nodes)):
        copies = [type(value).FromString(value.SerializeToString()) for value in values]
        del field[:]
        field.extend(copies)
    onnx.checker.check_model(stored)
    return stored


def onnx_weights(model: onnx.ModelProto) -> Iterator[NDArray[np.float32]]:
    """Yield the constants of floats."""
    return (numpy_helper.to_array(tensor) for tensor in model.graph.initializer if _is_float(tensor))


def _is_float(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.data_type == onnx.TensorProto.FLOAT)


def _places(graph: onnx.GraphProto) -> dict[str, str]:
    """Return for each constant the layer, and the place within it, of the node that reads it first."""
    return {name: node.name.rpartition("/")[0] for node in reversed(graph.node) for name in node.input}


def _decoding(
    name: str, number: int, place: str, found: Encoded
) -> tuple[list[onnx.TensorProto], list[onnx.NodeProto]]:
    """Return the constants and nodes that give the weight ``name``; their own names are short, to save bytes."""
    small, single, scales = (f"{kind}.{number}" for kind in ("stored", "single", "scale"))
    constants = [numpy_helper.from_array(found.numbers, small)]
    if found.scale is None:
        return constants, [helper.make_node("Cast", [small], [name], f"{place}/cast", to=onnx.TensorProto.FLOAT)]
    scale = along(found.scale, found.axis, found.numbers.ndim)
    constants.append(numpy_helper.from_array(scale, scales))
    cast = helper.make_node("Cast", [small], [single], f"{place}/cast", to=onnx.TensorProto.FLOAT)
    return constants, [cast, helper.make_node("Mul", [single, scales], [name], f"{place}/mul")]
