"""What a generated kernel loses in int8 beside a static one: itself, were it a constant, on the same maps."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from dcd_deploy.export.onnx.int8 import OnnxQuantiser
from dcd_deploy.export.onnx.quantised.beside import in_order
from dcd_deploy.export.onnx.quantised.build import calibrated
from dcd_deploy.export.onnx.quantised.numbers import map_format
from dcd_deploy.export.onnx.quantised.roles import GENERATED_KERNEL, sites

BITS = 8
MOST = 1.5  # dB that a generated kernel may lose more than a static one


@pytest.fixture(scope="module")
def quantiser(digits_int8_graph, training):
    found, images = sites(digits_int8_graph.graph), training[0][:128]
    ranges = calibrated(digits_int8_graph, found, (images,))
    return OnnxQuantiser(digits_int8_graph, found, ranges, BITS, images)


@pytest.fixture(scope="module")
def digits_int8_graph(digits_checkpoint, calibration, tmp_path_factory):
    """The float32 graph of the bundled network whose layers have the order of computation that int8 takes."""
    from conftest import DIGITS_OPTIONS

    from dcd_deploy import commands
    from dcd_deploy.export.onnx import build

    caught = []
    with pytest.MonkeyPatch.context() as patch:
        made = build.int8_graph
        patch.setattr(build, "int8_graph", lambda model, *others: caught.append(model) or made(model, *others))
        out = tmp_path_factory.mktemp("generated")
        options = dict(DIGITS_OPTIONS, precision="int8", calibrate=calibration, target="onnxruntime-arm")
        commands.export(digits_checkpoint, out=out, name="digits", **options)
    return caught[0]


def as_constants(made, quantiser):
    """Return the graph whose kernels W(x) are rounded for each picture as constants are: in steps of their own."""
    copy = onnx.ModelProto()
    copy.CopyFrom(made)
    makers, added = {name: node for node in copy.graph.node for name in node.output}, []
    constants = {"most": np.float32(2 ** (BITS - 1) - 1), "inputs": np.array([1], np.int64)}
    for site in quantiser.found:
        if site.role != GENERATED_KERNEL:
            continue
        name = site.node.name
        sizes, rows, largest, own, steps = (f"{name}.own.{i}" for i in range(5))
        added += [
            helper.make_node("Abs", [site.node.input[1]], [sizes]),
            helper.make_node("Flatten", [sizes], [rows], axis=1),
            helper.make_node("ReduceMax", [rows, "inputs"], [largest], keepdims=0),
            helper.make_node("Div", [largest, "most"], [own]),
        ]
        makers[f"{name}.kernel"].input[1] = own
        makers[f"{site.output}.int8"].input[4] = own
        if len(site.node.input) > 2:
            constants[f"{name}.step"] = map_format(*quantiser.ranges.maps[site.maps[0]]).scale
            added.append(helper.make_node("Mul", [own, f"{name}.step"], [steps]))
            makers[f"{name}.shift"].op_type = "Div"
            makers[f"{name}.shift"].input[1] = steps
    copy.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items())
    there = {each.name for each in (*copy.graph.initializer, *copy.graph.input)}
    nodes = in_order([*added, *copy.graph.node], there)
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


def kept(quantiser, made):
    generated = {site.layer for site in quantiser.found if site.role == GENERATED_KERNEL}
    return {each.layer: each.isolated_db for each in quantiser.noise(made, ()) if each.layer in generated}


def test_a_generated_kernel_loses_as_little_as_a_static_one(quantiser):
    made = quantiser.graph(())
    generated, static = kept(quantiser, made), kept(quantiser, as_constants(made, quantiser))
    assert len(generated) == 32
    lost = {layer: static[layer] - generated[layer] for layer in generated}
    assert max(lost.values()) <= MOST, lost


def test_a_kernel_of_fewer_bits_would_show(quantiser):
    fewer = OnnxQuantiser(quantiser.model, quantiser.found, quantiser.ranges, BITS - 3, quantiser.images)
    made = quantiser.graph(())
    coarse, static = kept(fewer, fewer.graph(())), kept(quantiser, as_constants(made, quantiser))
    assert max(static[layer] - coarse[layer] for layer in coarse) > MOST
