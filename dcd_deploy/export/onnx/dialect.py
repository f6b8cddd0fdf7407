"""From a simplified graph to the ONNX that was asked for.

    simplified graph
      → for the target "portable": without what some runtime gets wrong (``portable``)
      → in an opset below the exporter's own (``in_older_opset``)

onnx's own converter lacks operators (Split, from 18 down). Most operators only ever gained: types, which the checker
knows, attributes, whose default is what the older operator does, and inputs. So a node is written as the older operator
has it, and what that cannot say is refused. The few that were written another way are listed in ``WRITTEN``:

    below 18  Mish(x)                               x · Tanh(Softplus(x))
    below 17  LayerNormalization                    its mean, differences and squares
    below 15  CastLike(x, y)                        Cast to the type of y
    below 18  axes of reductions                    an attribute
    below 14  HardSwish(x)                          x · HardSigmoid(x)
    below 13  axes of Squeeze, sizes of Split, …    an attribute
    below 14  Reshape's allowzero                   left out where no size is 0
    below 13  Softmax over any axis                 over the last one, between two Transposes
    below 13  Resize without roi                    with an empty one
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from dcd_deploy.artifacts import FLOAT32
from dcd_deploy.errors import ExportError
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.onnx.opsets import TRACED_FROM
from dcd_deploy.export.onnx.portable import portable
from dcd_deploy.export.onnx.portable.rewriting import added_constant, attribute, before, constant, replace
from dcd_deploy.lowering.targets import PORTABLE

SIXTH = 1 / 6
AS_INPUT = {"axes", "split"}  # attributes that became inputs
WITHOUT_AXES = "noop_with_empty_axes"  # says what a reduction without axes does
EQUAL_PARTS = "num_outputs"  # a Split without sizes: the older one counts its outputs


class _LackError(Exception):
    """An opset lacks what a graph needs."""


def in_older_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Return a copy in an older opset; a graph without functions, whose reductions have constant axes.

    Raises:
        ExportError: the older opset lacks an operator, or what a node wants of one; it says which opset does not.
    """
    try:
        return _in_opset(model, opset)
    except _LackError as lack:
        newer = next((each for each in range(opset + 1, TRACED_FROM) if _has_all(model, each)), TRACED_FROM)
        raise ExportError(
            f"the network cannot be written in ONNX opset {opset}: {lack}; choose `opset` {newer} or above"
        ) from lack


def _has_all(model: onnx.ModelProto, opset: int) -> bool:
    try:
        _in_opset(model, opset)
    except _LackError:
        return False
    return True


def _in_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    older = ir.from_proto(onnx.shape_inference.infer_shapes(model))  # types and shapes, which some rewrites ask for
    version, older.graph.opset_imports[""] = older.graph.opset_imports[""], opset
    for node in tuple(ir.traversal.RecursiveGraphIterator(older.graph)):
        if node.domain == "":
            _lower(node, version, opset)
    RemoveUnusedNodesPass()(older)  # constants that became attributes: onnxruntime warns of each
    written = ir.to_proto(older)
    del written.graph.value_info[:]  # every runtime infers them anew
    written.ir_version = onnx.helper.find_min_ir_version_for(list(written.opset_import), ignore_unknown=True)
    try:
        onnx.checker.check_model(written, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise _LackError(str(error).strip().splitlines()[0]) from error
    return written


def _lower(node: ir.Node, version: int, opset: int) -> None:
    """Write a node of an opset ``version`` as ``opset`` has it."""
    newer = onnx.defs.get_schema(node.op_type, version)
    since, write = WRITTEN.get(node.op_type, (0, None))
    if write is not None and opset < since and write(node):
        return
    try:
        older = onnx.defs.get_schema(node.op_type, opset)
    except onnx.defs.SchemaError as error:
        raise _LackError(f"there is no {node.op_type} in it") from error
    if newer.since_version == older.since_version:
        return
    for name in AS_INPUT & older.attributes.keys():
        if len(node.inputs) > len(older.inputs) == 1:
            _as_attribute(node, name)
    for name in sorted(node.attributes.keys() - older.attributes.keys()):
        idle = (node.op_type == "Split" and name == EQUAL_PARTS) or (name == WITHOUT_AXES and "axes" in node.attributes)
        if not idle and ir.to_proto(node.attributes[name]) != newer.attributes[name].default_value:
            raise _LackError(f"its {node.op_type} has no '{name}'")
        del node.attributes[name]


def _as_attribute(node: ir.Node, name: str) -> None:
    values = []
    if (given := node.inputs[1]) is not None:
        if given.const_value is None:
            raise _LackError(f"its {node.op_type} has constant {name} alone")
        values = given.const_value.numpy().tolist()
    node.resize_inputs(1)
    if values:  # without any all are meant, of old as of late
        node.attributes.add(ir.AttrInt64s(name, values))


def _hard_swish(node: ir.Node) -> bool:
    sigmoid = before(node, "HardSigmoid", node.inputs, "gate", alpha=SIXTH, beta=0.5)
    replace(node, "Mul", [node.inputs[0], sigmoid])
    return True


def _mish(node: ir.Node) -> bool:
    gate = before(node, "Tanh", [before(node, "Softplus", node.inputs, "softplus")], "gate")
    replace(node, "Mul", [node.inputs[0], gate])
    return True


def _cast_like(node: ir.Node) -> bool:
    like = node.inputs[1]
    if like is None or like.dtype is None:
        raise _LackError(f"its Cast is to a known type alone, and that of '{_name(like)}' is unknown")
    replace(node, "Cast", [node.inputs[0]], to=int(like.dtype))
    return True


def _layer_norm(node: ir.Node) -> bool:
    """The older operators in which its own definition is written; of its other outputs nothing is asked."""
    value, axis = node.inputs[0], attribute(node, "axis", -1)
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]) or value is None:
        return False
    if axis >= 0 and value.shape is None:
        raise _LackError(f"there is no LayerNormalization in it, and the axes of '{_name(value)}' are unknown")
    axes = list(range(axis, 0)) if axis < 0 else list(range(axis, len(value.shape or ())))
    graph, dtype = node.graph, value.dtype or ir.DataType.FLOAT
    assert isinstance(graph, ir.Graph)
    small = np.array(attribute(node, "epsilon", 1e-5), dtype.numpy())
    rest = before(node, "Sub", [value, before(node, "ReduceMean", [value], "mean", axes=axes)], "rest")
    square = before(node, "ReduceMean", [before(node, "Mul", [rest, rest], "squares")], "variance", axes=axes)
    epsilon = added_constant(graph, f"{node.outputs[0].name}.epsilon", small)
    deviation = before(node, "Sqrt", [before(node, "Add", [square, epsilon], "positive")], "deviation")
    normal = [before(node, "Div", [rest, deviation], "normal"), node.inputs[1]]
    shift = node.inputs[2] if len(node.inputs) > 2 else None
    if shift is None:
        replace(node, "Mul", normal)
    else:
        replace(node, "Add", [before(node, "Mul", normal, "scaled"), shift])
    return True


def _softmax(node: ir.Node) -> bool:
    """Until 12 all axes from one on were taken together, the same where it is the last; and one not said was the 1."""
    value, axis = node.inputs[0], attribute(node, "axis", -1)
    node.attributes.add(ir.AttrInt64("axis", axis))
    if axis == -1:
        return False
    if value is None or value.shape is None:
        raise _LackError(f"its {node.op_type} is over the last axis alone, and that of '{_name(value)}' is unknown")
    if axis == len(value.shape) - 1:
        return False
    order = list(range(len(value.shape)))
    order[axis], order[-1] = order[-1], order[axis]
    turned = before(node, "Transpose", [value], "turned", perm=order)
    replace(node, "Transpose", [before(node, node.op_type, [turned], "last", axis=-1)], perm=order)
    return True


def _reshape(node: ir.Node) -> bool:
    """The exporter sets allowzero, which says how a size of 0 is meant, also where there is none."""
    shape = constant(node.inputs[1])
    if shape is not None and 0 not in shape:
        node.attributes.pop("allowzero", None)
    return False


def _resize(node: ir.Node) -> bool:
    """Its regions and scales were asked for until 12; empty ones are none."""
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    for place in (1, 2):
        if len(node.inputs) > place and node.inputs[place] is None:
            node.replace_input_with(place, added_constant(graph, f"{node.outputs[0].name}.none", np.zeros(0, "f")))
    return False


# operator → the opset from which on it need not be written another way, and how it is; True where nothing is left of it
WRITTEN: dict[str, tuple[int, Callable[[ir.Node], bool]]] = {
    "HardSwish": (14, _hard_swish),
    "Mish": (18, _mish),
    "CastLike": (15, _cast_like),
    "LayerNormalization": (17, _layer_norm),
    "Softmax": (13, _softmax),
    "LogSoftmax": (13, _softmax),
    "Reshape": (14, _reshape),
    "Resize": (13, _resize),
}


def _name(value: ir.Value | None) -> str:
    return "" if value is None else value.name or ""


def in_dialect(model: onnx.ModelProto, config: BuildConfig) -> onnx.ModelProto:
    """Return a simplified model as its target and opset ask for.

    Raises:
        ExportError: the opset lacks what the network needs.
    """
    if config.target == PORTABLE:
        model = portable(model, config.runtime, small=(config.weights, config.precision) != (FLOAT32, FLOAT32))
    return in_older_opset(model, config.opset) if config.opset < TRACED_FROM else model


def of_batch(model: onnx.ModelProto, batch: int | None) -> onnx.ModelProto:
    """Return a graph whose free batch has become a number; the same graph where it is to stay free, or is a number."""
    tensors = (*model.graph.input, *model.graph.output)
    free = [size for one in tensors for size in one.type.tensor_type.shape.dim if size.dim_param]
    if batch is None or not free:
        return model
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for one in (*fixed.graph.input, *fixed.graph.output):
        for size in one.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_value = batch
    del fixed.graph.value_info[:]
    return fixed
