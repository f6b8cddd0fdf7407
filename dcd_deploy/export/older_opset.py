"""An ONNX graph in an older opset than torch's exporter writes.

onnx's own converter lacks operators (Split, from 18 down). Most operators only ever gained: types, which the checker
knows, attributes, whose default is what the older operator does, and inputs. So a node is written as the older operator
has it, and what that cannot say is refused.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import helper, numpy_helper

from dcd_deploy.errors import ExportError

EQUAL_PARTS = "num_outputs"  # a Split without sizes: the older one counts its outputs


def in_older_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Return a copy in an older opset; a graph without functions, whose reductions have constant axes.

    Raises:
        ExportError: the older opset lacks an operator, or what a node wants of one.
    """
    older = onnx.ModelProto()
    older.CopyFrom(model)
    (entry,) = (entry for entry in older.opset_import if entry.domain == "")
    entry.version, version = opset, entry.version
    constants = {value.name: value for value in older.graph.initializer}
    for node in _nodes(older.graph):
        if node.domain == "":
            _lower(node, version, opset, constants)
    try:
        onnx.checker.check_model(older, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise _refusal(opset, str(error).strip().splitlines()[0]) from error
    return older


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(attribute.g)


def _lower(node: onnx.NodeProto, version: int, opset: int, constants: dict[str, onnx.TensorProto]) -> None:
    """Write a node of an opset ``version`` as ``opset`` has it."""
    newer = onnx.defs.get_schema(node.op_type, version)
    try:
        older = onnx.defs.get_schema(node.op_type, opset)
    except onnx.defs.SchemaError as error:
        raise _refusal(opset, f"there is no {node.op_type} in it") from error
    if newer.since_version == older.since_version:
        return
    if "axes" in older.attributes and len(node.input) > len(older.inputs) == 1:
        _axes_as_attribute(node, opset, constants)
    for attribute in [a for a in node.attribute if a.name not in older.attributes]:
        equal_parts = node.op_type == "Split" and attribute.name == EQUAL_PARTS
        if not equal_parts and attribute.SerializeToString() != _default(newer, attribute.name):
            raise _refusal(opset, f"its {node.op_type} has no '{attribute.name}'")
        node.attribute.remove(attribute)


def _axes_as_attribute(node: onnx.NodeProto, opset: int, constants: dict[str, onnx.TensorProto]) -> None:
    axes = node.input[1]
    if axes and axes not in constants:
        raise _refusal(opset, f"its {node.op_type} has constant axes alone")
    del node.input[1:]
    values = numpy_helper.to_array(constants[axes]).tolist() if axes else []
    if values:  # without any all are meant, of old as of late
        node.attribute.append(helper.make_attribute("axes", values))


def _default(schema: onnx.defs.OpSchema, name: str) -> bytes:
    default: bytes = schema.attributes[name].default_value.SerializeToString()
    return default


def _refusal(opset: int, reason: str) -> ExportError:
    return ExportError(f"the network cannot be written in ONNX opset {opset}: {reason}; choose --opset 18 or above")
