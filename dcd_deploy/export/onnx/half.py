"""A float32 ONNX graph whose maps are computed in half precision; inputs, outputs and all vectors stay float32.

    Conv, Clip, Relu, MaxPool on maps   float16, weights stored so; W(x) is computed in float32, and cast
    attention, pools, sums, classifier  float32

onnxruntime has half-precision kernels for the first on ARM cores with that arithmetic; of Gemm it has a slow one alone,
and everywhere else it casts to float32 around each operator. Pools stay in float32, where no sum overflows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from dcd_deploy.errors import OptionError, VerificationError
from dcd_deploy.export.naming import free_name
from dcd_deploy.export.onnx.quantised.roles import layer_of
from dcd_deploy.export.onnx.store import store_onnx
from dcd_deploy.lowering.passes.substitute import some
from dcd_deploy.lowering.places import is_within

ON_MAPS = ("Conv", "Clip", "Relu", "MaxPool")
IN_HALF = ".half"


def half_nodes(model: onnx.ModelProto, keep_float: Collection[str] = ()) -> list[str]:
    """Return the names of the nodes that are computed in half precision, but for the layers within ``keep_float``.

    Raises:
        OptionError: in one of these is no layer that would be.
    """
    maps = _maps(model)
    found = [
        node.name
        for node in model.graph.node
        if node.op_type in ON_MAPS and (node.input[0] in maps or node.output[0] in maps)
    ]
    layers = list(dict.fromkeys(map(layer_of, found)))
    for name in keep_float:
        if not any(is_within(layer, (name,)) for layer in layers):
            raise OptionError(
                expected=f"`keep_float` with layers that are computed in float16, such as {some(layers)}",
                found=f"'{name}'",
            )
    return [name for name in found if not is_within(layer_of(name), keep_float)]


def halved(model: onnx.ModelProto, names: Collection[str]) -> onnx.ModelProto:
    """Return the graph with the nodes of these ``names`` in half precision; what else is large is stored so."""
    writing = _Writing({tensor.name: tensor for tensor in model.graph.initializer})
    for node in model.graph.node:
        if node.name in names:
            writing.in_half(node)
        else:
            writing.in_single(node)
    writing.outputs([output.name for output in model.graph.output])
    read = {name for node in writing.nodes for name in node.input}
    constants = [each for each in (*model.graph.initializer, *writing.halves.values()) if each.name in read]
    graph = helper.make_graph(writing.nodes, model.graph.name, model.graph.input, model.graph.output, constants)
    made = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    return store_onnx(made, "float16")


@dataclass
class _Writing:
    """The nodes so far, the maps that are there in half precision, and the names that only are there so."""

    constants: Mapping[str, onnx.TensorProto]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    halves: dict[str, onnx.TensorProto] = field(default_factory=dict)
    there: set[str] = field(default_factory=set)
    lacking: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)

    def in_half(self, node: onnx.NodeProto) -> None:
        """Write a node whose floats are of half precision."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for i, name in enumerate(node.input):
            copy.input[i] = self._half(name, node) if name else name
        for i, name in enumerate(node.output):
            copy.output[i] = name + IN_HALF
            self.there.add(name)
            self.lacking.add(name)
        self.nodes.append(copy)

    def in_single(self, node: onnx.NodeProto) -> None:
        """Write a node as it is, and what it reads in float32 before it."""
        self.outputs([name for name in node.input if name in self.lacking])
        self.nodes.append(node)

    def outputs(self, names: Collection[str]) -> None:
        """Write what makes float32 values of maps that only are there in half precision."""
        for name in names:
            if name in self.lacking:
                self.lacking.discard(name)
                self._cast(name + IN_HALF, name, TensorProto.FLOAT, name)

    def _half(self, name: str, reader: onnx.NodeProto) -> str:
        half = name + IN_HALF
        if name in self.constants:
            if self.constants[name].data_type != TensorProto.FLOAT:
                return name
            values = numpy_helper.to_array(self.constants[name]).astype(np.float16)
            self.halves[half] = numpy_helper.from_array(values, half)
        elif name not in self.there:
            self.there.add(name)
            self._cast(name, half, TensorProto.FLOAT16, reader.name)
        return half

    def _cast(self, source: str, result: str, kind: int, place: str) -> None:
        name = free_name(f"{place.rpartition('/')[0] or 'output/output'}/cast", self.taken)
        self.nodes.append(helper.make_node("Cast", [source], [result], name, to=kind))


def check_half(model: onnx.ModelProto, made: onnx.ModelProto, names: Collection[str]) -> None:
    """Refuse a graph in half precision that is another than the float32 graph, or in which a node was left out.

    Raises:
        VerificationError: it is; the message names the first place.
    """
    kinds = {each.name: each for each in made.graph.initializer}
    right = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    weights = {name for name, values in right.items() if values.dtype == np.float32}
    maps = {each.name for each in model.graph.input} | {name for node in model.graph.node for name in node.output}
    nodes = {node.name: node for node in made.graph.node}
    for node in model.graph.node:
        found, wanted = nodes.get(node.name), [*node.input]
        if node.name in names:
            wanted = [name + IN_HALF if name in maps or name in weights else name for name in wanted]
        if found is None or found.op_type != node.op_type or [*found.input] != wanted:
            raise VerificationError(f"in float16: expected node '{node.name}' as in the float32 graph, found another")
        if [*found.attribute] != [*node.attribute]:
            raise VerificationError(f"in float16: expected the settings of '{node.name}', found others")
        for name in node.input:
            tensor = kinds.get(name + IN_HALF)
            if node.name in names and name in right and tensor is not None:
                with np.errstate(over="ignore"):
                    nearest = right[name].astype(np.float16)
                if not np.array_equal(numpy_helper.to_array(tensor), nearest) or not np.isfinite(nearest).all():
                    raise VerificationError(f"in float16: a weight of '{node.name}' is not the nearest number")


def _maps(model: onnx.ModelProto) -> set[str]:
    """Return the values (N, C, H, W) of more than one pixel."""
    inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    found = set()
    for value in (*inferred.value_info, *inferred.input, *inferred.output):
        sizes = [each.dim_value for each in value.type.tensor_type.shape.dim]
        if len(sizes) == 4 and sizes[2] * sizes[3] > 1:
            found.add(value.name)
    return found
