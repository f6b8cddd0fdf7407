"""A float32 graph and its int8 graph in one, which gives how far they are from each other at each of some values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx
from onnx import helper, numpy_helper

from dcd_deploy.export.onnx.quantised.rewriting import IN_INT8
from dcd_deploy.export.onnx.quantised.roles import GENERATED_KERNEL, Int8Site

OWN, RIGHT = ".own", "float32:"


@dataclass(frozen=True)
class Pair:
    """A value of the int8 graph, in float32, and the same of the float32 graph; ``map`` if it is that of a map."""

    found: str
    right: str
    map: str | None = None

    @classmethod
    def of_map(cls, site: Int8Site) -> Pair:
        """Return the output of a site."""
        return cls(f"{site.output}.found", RIGHT + site.output, site.output)

    @classmethod
    def of_kernel(cls, site: Int8Site) -> Pair:
        """Return the kernel W(x) that is computed for a site, or the λ that scales its channels, both in float32."""
        if site.role == GENERATED_KERNEL:
            value = site.node.input[1]
        else:
            assert site.follower is not None
            (value,) = (each for each in site.follower.input if each != site.node.output[0])
        return cls(value, RIGHT + value)


def both_graphs(
    float32: onnx.ModelProto, int8: onnx.ModelProto, pairs: Sequence[Pair], *, apart: bool
) -> onnx.ModelProto:
    """Return both graphs in one, whose outputs are the noise of all pairs, and then their signal, as sums of squares.

    With the layers ``apart`` each map in int8 is made anew from that of the float32 graph.
    """
    inputs = {each.name for each in float32.graph.input}
    nodes = [_renamed(node, lambda name: name if name in inputs else RIGHT + name) for node in float32.graph.node]
    own = {pair.map + IN_INT8 for pair in pairs if pair.map} if apart else set()
    nodes += [_renamed(node, lambda name: name + OWN if name in own else name, only=True) for node in int8.graph.node]
    for i, pair in enumerate(pairs):
        nodes += _map_nodes(pair.map, apart=apart) if pair.map else []
        nodes.append(helper.make_node("Sub", [pair.found, pair.right], [f"error.{i}"]))
        nodes.append(helper.make_node("ReduceSumSquare", [f"error.{i}"], [f"noise.{i}"], keepdims=0))
        nodes.append(helper.make_node("ReduceSumSquare", [pair.right], [f"signal.{i}"], keepdims=0))
    names = [f"{kind}.{i}" for kind in ("noise", "signal") for i in range(len(pairs))]
    outputs = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, []) for name in names]
    tensors = [numpy_helper.from_array(numpy_helper.to_array(t), RIGHT + t.name) for t in float32.graph.initializer]
    tensors += int8.graph.initializer
    there = {each.name for each in (*float32.graph.input, *tensors)}
    graph = helper.make_graph(in_order(nodes, there), "both", float32.graph.input, outputs, tensors)
    return helper.make_model(graph, opset_imports=int8.opset_import, ir_version=int8.ir_version)


def _map_nodes(name: str, *, apart: bool) -> list[onnx.NodeProto]:
    """Return what makes a map in int8 a float again, and, with the layers apart, makes it anew for who reads it."""
    parameters = [f"{name}.scale", f"{name}.zero"]
    source = name + IN_INT8 + (OWN if apart else "")
    again = helper.make_node("DequantizeLinear", [source, *parameters], [f"{name}.found"])
    anew = helper.make_node("QuantizeLinear", [RIGHT + name, *parameters], [name + IN_INT8])
    return [again, anew] if apart else [again]


def _renamed(node: onnx.NodeProto, rename: Callable[[str], str], *, only: bool = False) -> onnx.NodeProto:
    """Return a copy without a name of its own, whose outputs, and inputs unless they ``only``, are called otherwise."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.name = ""
    for field in (copy.output,) if only else (copy.input, copy.output):
        names = [rename(name) if name else name for name in field]
        del field[:]
        field.extend(names)
    return copy


def in_order(nodes: Sequence[onnx.NodeProto], there: set[str]) -> list[onnx.NodeProto]:
    """Return the nodes, each behind what it reads."""
    known, ordered, waiting = there | {""}, [], list(nodes)
    while waiting:
        ready = [node for node in waiting if known.issuperset(node.input)]
        assert ready, f"nothing makes what {waiting[0].op_type} reads: {list(waiting[0].input)}"
        ordered += ready
        known |= {name for node in ready for name in node.output}
        waiting = [node for node in waiting if not known.issuperset(node.output)]
    return ordered
