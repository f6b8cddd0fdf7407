"""The graph of an .ort file as an ONNX graph without its weights: nodes, names, shapes, which values are constant."""

from __future__ import annotations

from graphlib import TopologicalSorter
from typing import Any

import onnx

from dcd_deploy.errors import ModelFileError
from dcd_deploy.optional import require

IDENTIFIER = b"ORTM"
WANTED = ("transB", "perm", "kernel_shape")  # the attributes that the rules ask for


def ort_graph(content: bytes) -> onnx.ModelProto:
    """Return the graph of an .ort file; constants have their names alone.

    Raises:
        ModelFileError: it is no .ort file, or is damaged.
        MissingDependencyError: what onnxruntime's reader needs is not installed.
    """
    require("flatbuffers")
    require("onnxruntime.tools.ort_format_model")  # which puts its generated reader on the path
    session = require("ort_flatbuffers_py.fbs.InferenceSession").InferenceSession
    if content[4:8] != IDENTIFIER:
        raise ModelFileError(expected="an .ort file", but=f"it has no '{IDENTIFIER.decode()}' mark")
    try:
        return onnx.helper.make_model(_graph(session.GetRootAsInferenceSession(content, 0).Model().Graph()))
    except Exception as error:  # generated code checks nothing, and raises whatever wrong bytes make it
        raise ModelFileError(
            expected="an .ort file whose nodes can be listed", but=f"it is damaged ({type(error).__name__})"
        ) from error


def _graph(graph: Any) -> onnx.GraphProto:
    found = (_value(graph.NodeArgs(i)) for i in range(graph.NodeArgsLength()))
    values = {value.name: value for value in found if value is not None}
    names = [graph.Initializers(i).Name().decode() for i in range(graph.InitializersLength())]
    ends = [[_text(end(i)) for i in range(length())] for end, length in _ends(graph)]
    inputs, outputs = ([values[name] for name in side if name not in names] for side in ends)
    return onnx.helper.make_graph(
        _in_order([_node(graph.Nodes(i)) for i in range(graph.NodesLength())]),
        "main",
        inputs,
        outputs,
        initializer=[onnx.TensorProto(name=name) for name in names],
        value_info=list(values.values()),
    )


def _in_order(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Return the nodes in the order of computation; those that onnxruntime fused stand at the end of its list."""
    maker = {name: i for i, node in enumerate(nodes) for name in node.output}
    needs = {i: {maker[name] for name in node.input if name in maker} for i, node in enumerate(nodes)}
    return [nodes[i] for i in TopologicalSorter(needs).static_order()]


def _ends(graph: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    return (graph.Inputs, graph.InputsLength), (graph.Outputs, graph.OutputsLength)


def _text(content: bytes) -> str:
    return content.decode()


def _value(argument: Any) -> onnx.ValueInfoProto | None:
    """Return a tensor's name and sizes; those of unknown rank are left out, as shape inference leaves them out."""
    kind = argument.Type()
    if kind is None or kind.Value() is None:
        return None
    tensor = _tensor_type(kind.Value())
    shape = tensor.Shape()
    sizes = [] if shape is None else [_size(shape.Dim(i)) for i in range(shape.DimLength())]
    return onnx.helper.make_tensor_value_info(argument.Name().decode(), tensor.ElemType(), sizes)


def _tensor_type(union: Any) -> Any:
    found = require("ort_flatbuffers_py.fbs.TensorTypeAndShape").TensorTypeAndShape()
    found.Init(union.Bytes, union.Pos)
    return found


def _size(dimension: Any) -> int | None:
    value = dimension.Value()
    return value.DimValue() if value is not None and value.DimType() == 1 else None


def _node(node: Any) -> onnx.NodeProto:
    inputs, outputs = ([_text(end(i)) for i in range(length())] for end, length in _ends(node))
    attributes: dict[str, Any] = {}
    for i in range(node.AttributesLength()):
        if (name := node.Attributes(i).Name().decode()) in WANTED:
            each = node.Attributes(i)
            attributes[name] = [each.Ints(j) for j in range(each.IntsLength())] or each.I()
    return onnx.helper.make_node(
        node.OpType().decode(), inputs, outputs, node.Name().decode(), domain=node.Domain().decode(), **attributes
    )
