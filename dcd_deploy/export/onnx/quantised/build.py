"""From a float32 graph and calibration images to the graph in int8, whose other large constants are stored small."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import onnx
from onnx import helper, numpy_helper

from dcd_deploy.artifacts import INT8
from dcd_deploy.errors import OptionError
from dcd_deploy.export.onnx.quantised.poolings import poolings
from dcd_deploy.export.onnx.quantised.ranges import Ranges, measured
from dcd_deploy.export.onnx.quantised.rewriting import Rewriting
from dcd_deploy.export.onnx.quantised.roles import GENERATED_KERNEL, Int8Site, layer_of, layers
from dcd_deploy.export.onnx.store import store_onnx
from dcd_deploy.export.rounding import rounded
from dcd_deploy.lowering.passes.substitute import some
from dcd_deploy.lowering.places import ATTENTION, is_within
from dcd_deploy.samples import Inputs


def check_layers(graph: onnx.GraphProto, found: Sequence[Int8Site], keep_float: Collection[str]) -> None:
    """Raise OptionError for a name in which there is no layer that is in int8, or is dynamic."""
    known = [*layers(found), *(layer_of(node.name) for node in graph.node if f"/{ATTENTION}" in node.name)]
    for name in keep_float:
        if not any(is_within(layer, (name,)) for layer in known):
            raise OptionError(
                expected=f"`keep_float` with layers that are computed in int8, such as {some(known)}", found=f"'{name}'"
            )


def calibrated(model: onnx.ModelProto, found: Sequence[Int8Site], inputs: Inputs) -> Ranges:
    """Return the ranges of all maps and kernels of these sites, over inputs (N, …)."""
    maps = [name for site in found for name in (*site.maps, site.output)]
    kernels = [site.node.input[1] for site in found if site.role == GENERATED_KERNEL]
    return measured(model, maps, kernels, inputs)


def rewritten(
    model: onnx.ModelProto, found: Sequence[Int8Site], ranges: Ranges, bits: int, keep_float: Collection[str] = ()
) -> onnx.ModelProto:
    """Return the graph with these sites in int8, all but those of the layers ``keep_float``."""
    chosen = [site for site in found if not is_within(site.layer, keep_float)]
    by_name = {(site.follower or site.node).name: site for site in chosen}  # where all that it reads is there
    in_int8 = {site.output for site in chosen}
    means = {each.last.name: each for each in poolings(model) if each.map in in_int8}
    taken = {site.node.name for site in chosen} | {node.name for each in means.values() for node in each.nodes}
    rewriting = Rewriting(model.graph, ranges, bits)
    for node in model.graph.node:
        if node.name in by_name:
            rewriting.written(by_name[node.name])
        elif node.name in means:
            rewriting.pooled(means[node.name])
        elif node.name not in taken:
            rewriting.kept(node)
    for output in model.graph.output:
        rewriting.in_single(output.name, "output")
    read = {name for node in rewriting.nodes for name in node.input}
    constants = (*map(_rounded, model.graph.initializer), *rewriting.added.values())
    graph = helper.make_graph(
        rewriting.nodes,
        model.graph.name,
        model.graph.input,
        model.graph.output,
        [tensor for tensor in constants if tensor.name in read],
    )
    made = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    return store_onnx(made, INT8)


def with_small_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a float32 graph with its large constants rounded, as a graph in int8 stores them."""
    rounded_model = onnx.ModelProto()
    rounded_model.CopyFrom(model)
    constants = [_rounded(tensor) for tensor in model.graph.initializer]
    del rounded_model.graph.initializer[:]
    rounded_model.graph.initializer.extend(constants)
    return rounded_model


def _rounded(tensor: onnx.TensorProto) -> onnx.TensorProto:
    """Return a constant as it can be stored small."""
    if tensor.data_type != onnx.TensorProto.FLOAT:
        return tensor
    return numpy_helper.from_array(rounded(numpy_helper.to_array(tensor), INT8), tensor.name)
