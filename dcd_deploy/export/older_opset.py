"""An ONNX graph in an older opset than torch's exporter writes.

onnx's own converter lacks operators (Split, from 18 down). Most operators only ever gained: types, which the checker
knows, attributes, whose default is what the older operator does, and inputs. So a node is written as the older operator
has it, and what that cannot say is refused.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir

from dcd_deploy.errors import ExportError

EQUAL_PARTS = "num_outputs"  # a Split without sizes: the older one counts its outputs


def in_older_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Return a copy in an older opset; a graph without functions, whose reductions have constant axes.

    Raises:
        ExportError: the older opset lacks an operator, or what a node wants of one.
    """
    older = ir.from_proto(model)
    version, older.graph.opset_imports[""] = older.graph.opset_imports[""], opset
    for node in ir.traversal.RecursiveGraphIterator(older.graph):
        if node.domain == "":
            _lower(node, version, opset)
    written = ir.to_proto(older)
    try:
        onnx.checker.check_model(written, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise _refusal(opset, str(error).strip().splitlines()[0]) from error
    return written


def _lower(node: ir.Node, version: int, opset: int) -> None:
    """Write a node of an opset ``version`` as ``opset`` has it."""
    newer = onnx.defs.get_schema(node.op_type, version)
    try:
        older = onnx.defs.get_schema(node.op_type, opset)
    except onnx.defs.SchemaError as error:
        raise _refusal(opset, f"there is no {node.op_type} in it") from error
    if newer.since_version == older.since_version:
        return
    if "axes" in older.attributes and len(node.inputs) > len(older.inputs) == 1:
        _axes_as_attribute(node, opset)
    for name in sorted(node.attributes.keys() - older.attributes.keys()):
        equal_parts = node.op_type == "Split" and name == EQUAL_PARTS
        if not equal_parts and ir.to_proto(node.attributes[name]) != newer.attributes[name].default_value:
            raise _refusal(opset, f"its {node.op_type} has no '{name}'")
        del node.attributes[name]


def _axes_as_attribute(node: ir.Node, opset: int) -> None:
    values = []
    if (axes := node.inputs[1]) is not None:
        if axes.const_value is None:
            raise _refusal(opset, f"its {node.op_type} has constant axes alone")
        values = axes.const_value.numpy().tolist()
    node.resize_inputs(1)
    if values:  # without any all are meant, of old as of late
        node.attributes.add(ir.AttrInt64s("axes", values))


def _refusal(opset: int, reason: str) -> ExportError:
    return ExportError(f"the network cannot be written in ONNX opset {opset}: {reason}; choose `opset` 18 or above")
