"""Layers lowered as nchwc in onnxruntime's own blocks: the same results, on machines of either block, nothing lost."""

import subprocess
import sys
from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from deployed import captured, deployed
from lowering_cases import published
from onnx import helper, numpy_helper
from torch import nn

from dcd_deploy.artifacts import Preprocessing
from dcd_deploy.dynamic.folds import without_gains
from dcd_deploy.dynamic.shape import MapSize
from dcd_deploy.errors import ModelFileError, OptionError, VerificationError
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.formats import build_formats, check_config
from dcd_deploy.export.onnx import make as make_onnx
from dcd_deploy.export.onnx.in_blocks import DOMAIN, in_blocks
from dcd_deploy.export.onnx.naming import name_onnx, onnx_scopes
from dcd_deploy.export.onnx.plain_graph import changes_padding_alone
from dcd_deploy.export.onnx.simplify import simplify
from dcd_deploy.export.onnx.trace import to_onnx
from dcd_deploy.lowering.channels_first.nchwc import NchwcLowering
from dcd_deploy.lowering.targets import ONNXRUNTIME_X86, PORTABLE_ONNX
from dcd_deploy.models.dynamic import ResNetDynamicConv
from dcd_deploy.models.geometry import LayerGeometry
from dcd_deploy.models.random_weights import calibrated_network
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession

SIDE = 64
LIMIT = 5e-5
FULL_OF_PADDING = NetworkSpec("mobilenetv2_dcd", 10, 0.75)  # maps of 24 and 72 channels, static layers among them
EIGHT_CHANNELS = "Haswell"


@pytest.fixture(scope="module")
def network():
    return calibrated_network(FULL_OF_PADDING, SIDE)


def images(batch: int, channels: int = 3, side: int = SIDE):
    return np.random.default_rng(0).standard_normal((batch, channels, side, side), np.float32)


def plain_model(network, batch: int) -> onnx.ModelProto:
    deploy = deployed(network, SIDE, SIDE, "nchwc", ONNXRUNTIME_X86)
    traced = to_onnx(deploy.module, SIDE, SIDE, batch)
    return name_onnx(simplify(traced.tidied), onnx_scopes(traced.tidied), deploy.places)


@pytest.fixture(scope="module", params=[1, 3])
def models(request, network):
    plain = plain_model(network, request.param)
    return request.param, plain, in_blocks(plain)


def outputs(model: onnx.ModelProto, x):
    return OnnxRuntimeSession(model.SerializeToString()).run(x)


def error(model: onnx.ModelProto, other: onnx.ModelProto, x) -> float:
    wanted = outputs(other, x)
    return float(np.abs(outputs(model, x) - wanted).max() / np.ptp(wanted))


def test_the_same_results(models):
    batch, plain, moved = models
    assert error(moved, plain, images(batch)) <= LIMIT


def test_all_between_two_dynamic_layers_stays_in_blocks(models):
    batch, _, moved = models
    counts = Counter((node.domain, node.op_type) for node in moved.graph.node)
    assert counts["", "Conv"] <= 4  # the tail: a static layer of full width, and the classifier's
    assert counts["", "Clip"] <= 3
    assert not any(n.op_type == "ReorderOutput" and n.name.startswith("features.5.conv.3") for n in moved.graph.node)
    quarters = sum(node.op_type == "AveragePool" for node in moved.graph.node) / 2
    assert counts[DOMAIN, "ReorderOutput"] <= quarters + 2
    sums = sum(len(node.input) == 4 for node in moved.graph.node if node.op_type == "Conv")
    assert sums == (10 if batch == 1 else 0)  # in a batch the summands have their samples side by side
    names = [node.name for node in moved.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)


def test_names_that_a_users_own_constants_have(models):
    """A parameter list called ``shape`` gives constants such as shape.0, whatever is added under that name."""
    batch, plain, moved = models
    added = [one.name for one in moved.graph.initializer if one.name.startswith(("values.", "shape."))]
    added += [name for node in moved.graph.node if node.domain == DOMAIN for name in node.output]
    held = {one.name for one in plain.graph.initializer}
    known = held | {name for node in plain.graph.node for name in node.output}
    theirs = dict(zip(sorted(held), (name for name in added if name not in known), strict=False))
    assert any(name.startswith("shape.") for name in theirs.values())
    assert any(name.endswith(".blocks") for name in theirs.values())
    renamed = onnx.ModelProto.FromString(plain.SerializeToString())
    for one in renamed.graph.initializer:
        one.name = theirs.get(one.name, one.name)
    for node in renamed.graph.node:
        node.input[:] = [theirs.get(name, name) for name in node.input]
    found = in_blocks(renamed)
    assert len(found.graph.node) == len(moved.graph.node)
    assert error(found, plain, images(batch)) <= LIMIT


def test_a_model_without_such_layers_stays(network):
    deploy = deployed(network, SIDE, SIDE, "kernel", ONNXRUNTIME_X86).module
    assert in_blocks(simplify(to_onnx(deploy, SIDE, SIDE).tidied)) is None


def test_one_file_for_blocks_of_eight_and_sixteen(models, tmp_path):
    """The same file on an emulated machine without AVX-512, whose blocks are of 8."""
    batch, plain, moved = models
    probe = helper.make_model(
        helper.make_graph(
            [helper.make_node("ReorderInput", ["x"], ["y"], domain=DOMAIN)],
            "probe",
            [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 16, 1, 2])],
            [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 16, 1, 2])],
        ),
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)],
        ir_version=8,
    )
    onnx.save(moved, tmp_path / "moved.onnx")
    onnx.save(probe, tmp_path / "probe.onnx")
    np.save(tmp_path / "moved.npy", images(batch))
    np.save(tmp_path / "probe.npy", np.arange(32, dtype=np.float32).reshape(1, 16, 1, 2))
    script = (
        "import sys, numpy, onnxruntime\n"
        "for name in ('probe', 'moved'):\n"
        "    session = onnxruntime.InferenceSession(f'{sys.argv[1]}/{name}.onnx', providers=['CPUExecutionProvider'])\n"
        "    x = numpy.load(f'{sys.argv[1]}/{name}.npy')\n"
        "    numpy.save(f'{sys.argv[1]}/{name}-out.npy', session.run(None, {session.get_inputs()[0].name: x})[0])\n"
    )
    emulated = ["qemu-x86_64", "-cpu", EIGHT_CHANNELS, sys.executable, "-c", script, str(tmp_path)]
    subprocess.run(emulated, check=True, capture_output=True, timeout=300)
    order = np.load(tmp_path / "probe-out.npy").ravel()
    assert order[8] == 1  # after eight channels of the first pixel comes the second pixel
    wanted = outputs(plain, images(batch))
    assert np.abs(np.load(tmp_path / "moved-out.npy") - wanted).max() <= LIMIT * np.ptp(wanted)


class TwoAddedUp(nn.Module):
    """Two dynamic layers, of which the first to be computed is read by the second's sum alone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers = [ResNetDynamicConv(LayerGeometry(16, 32, 4, 4)).double().eval() for _ in range(3)]
        operators = [without_gains(published(layer)) for layer in layers]
        self.layers = nn.ModuleList(NchwcLowering(operator, MapSize(8, 8, 8, 8)) for operator in operators)

    def forward(self, x):
        first, second, third = (layer(x) for layer in self.layers)
        return torch.relu(first + second) + third + second


def test_a_sum_waits_for_the_later_summand():
    x = images(1, 16, 8)
    plain = simplify(to_onnx(TwoAddedUp(), 8, 8, channels=16).tidied)
    assert error(in_blocks(plain), plain, x) <= LIMIT


class HardSwishBetween(TwoAddedUp):
    """Two dynamic layers, with a hard-swish between."""

    def forward(self, x):
        return self.layers[1](nn.functional.hardswish(self.layers[0](x))[:, :16])


def test_a_hard_swish_stays_in_blocks():
    """No convolution in blocks takes it in, in any version that reads the file, but it is the same in both layouts."""
    x = images(1, 16, 8)
    plain = simplify(to_onnx(HardSwishBetween(), 8, 8, channels=16).tidied)
    moved = in_blocks(plain)
    makers = {name: node for node in moved.graph.node for name in node.output}
    (hard_swish,) = (node for node in moved.graph.node if node.op_type == "HardSwish")
    assert (makers[hard_swish.input[0]].domain, makers[hard_swish.input[0]].op_type) == (DOMAIN, "Conv")
    assert error(moved, plain, x) <= LIMIT


def node_in_a_graph(operator: str, shapes: tuple[list[int], list[int]], **constants) -> ir.Node:
    node = helper.make_node(operator, ["x", *constants], ["y"])
    values = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in zip("xy", shapes, strict=True)]
    held = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph([node], "g", values[:1], values[1:], held)
    return ir.from_proto(graph)[0]


@pytest.mark.parametrize(
    ("start", "end", "alone"), [(0, 24, True), (8, 32, False), (0, 16, False)], ids=["last", "first", "a whole block"]
)
def test_a_slice_of_padding(start, end, alone):
    shapes = [1, 32, 4, 4], [1, end - start, 4, 4]
    node = node_in_a_graph("Slice", shapes, starts=[start], ends=[end], axes=[1])
    assert changes_padding_alone(node) == alone


@pytest.mark.parametrize(
    ("before", "behind", "value", "alone"), [(0, 8, 0.0, True), (8, 0, 0.0, False), (0, 8, 1.0, False)]
)
def test_padding(before, behind, value, alone):
    pads = [0, before, 0, 0, 0, behind, 0, 0]
    node = node_in_a_graph("Pad", ([1, 24, 4, 4], [1, 32, 4, 4]), pads=pads, value=np.float32(value))
    assert changes_padding_alone(node) == alone


def test_the_gate_sees_a_pass_that_goes_wrong(network, monkeypatch):
    """Here one that loses the activations that it says it has fused."""

    def without_activations(model):
        moved = in_blocks(model)
        for node in moved.graph.node:
            kept = [a for a in node.attribute if not a.name.startswith("activation")]
            del node.attribute[:]
            node.attribute.extend(kept)
        return moved

    config = BuildConfig(Preprocessing.for_size(SIDE, SIDE), lowering="nchwc", target="onnxruntime-x86")
    ready = captured(network, SIDE, SIDE)
    built = build_formats(ready, config, ["onnx"])["onnx"]
    assert [c.stage for c in built.report.comparisons][-1] == "ONNX in blocks"
    monkeypatch.setattr(make_onnx, "in_blocks", without_activations)
    with pytest.raises(VerificationError, match="ONNX in blocks"):
        build_formats(ready, config, ["onnx"])


def test_where_the_lowering_cannot_serve():
    settings = Preprocessing.for_size(SIDE, SIDE)
    for other in (
        BuildConfig(settings, lowering="nchwc"),
        BuildConfig(settings, lowering={"features.1.conv.0": "nchwc"}),
        BuildConfig(settings, lowering="nchwc", target="onnxruntime-x86", batch=None),
    ):
        with pytest.raises(
            OptionError, match="`target` onnxruntime-x86, and a `batch` number, for the lowering 'nchwc'"
        ):
            check_config(other, ["onnx"])
    assert "nchwc" in ONNXRUNTIME_X86.lowerings
    assert "nchwc" not in ONNXRUNTIME_X86.for_batch(None).lowerings
    assert "nchwc" not in PORTABLE_ONNX.lowerings


def test_a_machine_without_blocks_says_what_to_do(models):
    """As onnxruntime does for ARM, which has no such operators: here their domain has another name."""
    _, _, moved = models
    foreign = onnx.ModelProto()
    foreign.CopyFrom(moved)
    for node in foreign.graph.node:
        if node.op_type == "ReorderInput":
            node.op_type = "ReorderInputs"
    with pytest.raises(ModelFileError, match="made for onnxruntime on x86.*`target` portable"):
        OnnxRuntimeSession(foreign.SerializeToString())
