"""What a generated kernel loses in int8 beside a static one: itself, were it a constant, on the same maps."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from dcd_deploy.export.onnx.int8 import OnnxQuantiser
from dcd_deploy.export.onnx.quantised.build import calibrated
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
    graph, nodes = copy.graph, {name: node for node in copy.graph.node for name in node.output}
    constants = {"most": np.float32(2 ** (BITS - 1) - 1), "inputs": np.array([1], np.int64)}
    before = {}
    for site in quantiser.found:
        if site.role != GENERATED_KERNEL:
            continue
        name, kernel = site.node.name, site.node.input[1]
        ins = [f"{name}.{part}" for part in ("sizes", "rows", "largest", "own")]
        before[f"{name}.kernel"] = [
            helper.make_node("Abs", [kernel], [ins[0]]),
            helper.make_node("Flatten", ins[:1], [ins[1]], axis=1),
            helper.make_node("ReduceMax", [ins[1], "inputs"], [ins[2]], keepdims=0),
            helper.make_node("Div", [ins[2], "most"], [ins[3]]),
        ]
        nodes[f"{name}.kernel"].input[1] = ins[3]
        nodes[f"{site.output}.int8"].input[4] = ins[3]
        if len(site.node.input) > 2:
            constants[f"{name}.step"] = quantiser_step(quantiser, site)
            steps = helper.make_node("Mul", [ins[3], f"{name}.step"], [f"{name}.own_steps"])
            before[f"{name}.shift"] = [*before.pop(f"{name}.kernel"), steps]
            nodes[f"{name}.shift"].op_type = "Div"
            nodes[f"{name}.shift"].input[1] = f"{name}.own_steps"
    ordered = [one for node in graph.node for one in (*before.get(node.output[0], ()), node)]
    placed = first_things_first(ordered, {t.name for t in graph.initializer} | set(constants))
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    del graph.node[:]
    graph.node.extend(placed)
    return copy


def quantiser_step(quantiser, site):
    from dcd_deploy.export.onnx.quantised.numbers import map_format

    return map_format(*quantiser.ranges.maps[site.maps[0]]).scale


def first_things_first(nodes, known):
    made = {name for node in nodes for name in node.output}
    known, ordered, waiting = set(known), [], list(nodes)
    while waiting:
        ready = [n for n in waiting if all(name in known or name not in made for name in n.input)]
        ordered += ready
        known |= {name for node in ready for name in node.output}
        waiting = [node for node in waiting if not known.issuperset(node.output)]
    return ordered


def kept(quantiser, made):
    generated = {site.layer for site in quantiser.found if site.role == GENERATED_KERNEL}
    return {each.layer: each.isolated_db for each in quantiser.noise(made, ()) if each.layer in generated}


def test_a_generated_kernel_loses_as_little_as_a_static_one(quantiser):
    made = quantiser.graph(())
    generated, static = kept(quantiser, made), kept(quantiser, as_constants(made, quantiser))
    assert len(generated) >= 17
    lost = {layer: static[layer] - generated[layer] for layer in generated}
    assert max(lost.values()) <= MOST, lost


def test_a_kernel_of_fewer_bits_would_show(quantiser):
    fewer = OnnxQuantiser(quantiser.model, quantiser.found, quantiser.ranges, BITS - 3, quantiser.images)
    made = quantiser.graph(())
    coarse, static = kept(fewer, fewer.graph(())), kept(quantiser, as_constants(made, quantiser))
    assert max(static[layer] - coarse[layer] for layer in coarse) > MOST
