"""What an ONNX graph consists of, read with the package onnx: nodes by operator, bytes, and multiply-adds."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import onnx

from dcd_deploy.errors import ModelFileError
from dcd_deploy.export.stats import GraphStats, OnnxFacts
from dcd_deploy.runtimes.nodes import FileNode

Shapes = dict[str, tuple[int, ...]]


def graph_stats(model: onnx.ModelProto) -> GraphStats:
    """Count the nodes, bytes and multiply-adds (for one sample) of ``model``."""
    operators = Counter(node.op_type for node in model.graph.node)
    ordered = dict(sorted(operators.items(), key=lambda item: (-item[1], item[0])))
    return GraphStats(len(model.graph.node), ordered, model.ByteSize(), graph_macs(model) // _batch(model))


def onnx_nodes(model: onnx.ModelProto) -> tuple[FileNode, ...]:
    """Return the nodes in their order; a free batch size counts as one."""
    shapes = known_shapes(model)
    return tuple(
        FileNode(n.name, n.op_type, tuple(n.input), tuple(n.output), _node_macs(n, shapes)) for n in model.graph.node
    )


def graph_macs(model: onnx.ModelProto) -> int:
    """Return the multiply-adds of all Conv, QLinearConv, Gemm and MatMul nodes, a free batch size counted as one."""
    shapes = known_shapes(model)
    return sum(_node_macs(node, shapes) for node in model.graph.node)


def _batch(model: onnx.ModelProto) -> int:
    """Return the batch size of the first input; one where it is free."""
    dims = model.graph.input[0].type.tensor_type.shape.dim if model.graph.input else ()
    return dims[0].dim_value or 1 if dims else 1


def _node_macs(node: onnx.NodeProto, shapes: Shapes) -> int:
    if node.op_type not in ("Conv", "QLinearConv", "Gemm", "MatMul"):
        return 0
    output, weight = shapes.get(node.output[0]), shapes.get(node.input[3 if node.op_type == "QLinearConv" else 1])
    if output is None or weight is None:
        return 0
    if node.op_type in ("Conv", "QLinearConv"):
        return math.prod(output) * math.prod(weight[1:])
    left = shapes.get(node.input[0]) or (1,)  # a rank that inference does not find
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return math.prod(output) * (left[0] if transposed else left[-1])


def known_shapes(model: onnx.ModelProto) -> Shapes:
    """Return the shapes of all values that inference finds; a free size counts as one."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = tuple(dim.dim_value if dim.HasField("dim_value") else 1 for dim in dims)
    return shapes


def read_onnx_facts(path: Path) -> OnnxFacts:
    """Return the counts and versions of an ONNX file.

    Raises:
        ModelFileError: it is not an ONNX model, or is damaged.
    """
    try:
        model = onnx.load(path, load_external_data=False)
        stats = graph_stats(model)
    except Exception as error:  # protobuf and shape inference have no common public base
        raise ModelFileError(
            expected=f"an ONNX model at '{path}'",
            but=f"it is damaged: {error}",
            advice="fetch or export the file again",
        ) from error
    opset = max((entry.version for entry in model.opset_import if entry.domain == ""), default=0)
    return OnnxFacts(opset, model.ir_version, f"{model.producer_name} {model.producer_version}".strip(), stats)


def read_onnx_nodes(path: Path) -> tuple[FileNode, ...]:
    """Return the nodes of an ONNX file.

    Raises:
        ModelFileError: it is not an ONNX model, or is damaged.
    """
    try:
        return onnx_nodes(onnx.load(path, load_external_data=False))
    except Exception as error:  # as above
        raise ModelFileError(
            expected=f"an ONNX model at '{path}'",
            but=f"it is damaged: {error}",
            advice="fetch or export the file again",
        ) from error
