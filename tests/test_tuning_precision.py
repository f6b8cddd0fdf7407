"""Costs and tuning in int8 and float16: layers are written as in an export, files of a precision keep to it."""

import numpy as np
import onnx
import pytest
import torch
from conftest import DIGITS_OPTIONS
from dynamic_layers import lively
from torch import nn
from tuning_subjects import subject_with

from dcd_deploy import commands
from dcd_deploy.errors import LoweringFileError, OptionError, UnknownNameError
from dcd_deploy.export.noise import snr_db
from dcd_deploy.export.onnx.quantised.exact import exact_session
from dcd_deploy.export.tflite.half import ACCUMULATED_IN_HALF
from dcd_deploy.lowering.targets import LITERT, ONNXRUNTIME_ARM, in_int8, target_for
from dcd_deploy.models.dynamic import MobileNetDynamicConv
from dcd_deploy.models.geometry import mobilenet_geometry
from dcd_deploy.runtimes.litert import LiteRtSession
from dcd_deploy.runtimes.nodes import delegation
from dcd_deploy.tuning.layer_model import STATIC, among_neighbours, write_layer_model
from dcd_deploy.tuning.layer_times import LayerTimes, Measured, kept, kept_or_measured
from dcd_deploy.tuning.lowering_file import TunedLowering, read_lowering, write_lowering

WHERE = Measured("local", "cpu", "litert", "1", 1)


@pytest.fixture(scope="module")
def group():
    """A layer 8→24 on 8×8 that reads a sum; nothing follows."""
    torch.manual_seed(0)
    layer = lively(MobileNetDynamicConv(mobilenet_geometry(8, 24, 8)))
    (found,) = subject_with(nn.Sequential(nn.Conv2d(3, 8, 1), layer), 3, 8, 8).groups
    return found


def answer(group, target, path):
    """Run a layer's file on the input that its ranges are from."""
    inputs = tuple(one.float().numpy() for one in among_neighbours(group, everywhere=True)[1])
    if target.format == "onnx":
        return exact_session(onnx.load(path)).run_all(inputs)[0]
    session = LiteRtSession(path.read_bytes())
    session.interpreter.set_tensor(session.interpreter.get_input_details()[0]["index"], inputs[0].transpose(0, 2, 3, 1))
    session.interpreter.invoke()
    found = session.interpreter.get_tensor(session.interpreter.get_output_details()[0]["index"])
    return found.transpose(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("target", "least", "most"),
    [
        (in_int8(ONNXRUNTIME_ARM), 25, 50),
        (in_int8(LITERT), 25, 50),
        (target_for("onnxruntime-arm", "onnx", "float16"), 50, 90),
    ],
    ids=lambda value: f"{value.name} {value.precision}" if hasattr(value, "name") else str(value),
)
def test_a_layer_is_written_in_the_precision(target, least, most, group, tmp_path):
    """It computes what the network does, as nearly as its bits can, and no nearer: it is no file in float32."""
    captured, examples = among_neighbours(group, everywhere=True)
    with torch.inference_mode():
        (right,) = captured.graph.module(*examples)
    for lowering in list(group.case.costs(target))[:2]:
        write_layer_model(group, lowering, target, path := tmp_path / "layer.bin")
        assert least <= snr_db(answer(group, target, path), right.numpy()) <= most


def test_maps_come_and_go_in_int8(group, tmp_path):
    """One quantisation in front and one back behind, in every lowering and the static layer, as within a network."""
    target = in_int8(ONNXRUNTIME_ARM)
    for lowering in (*group.case.costs(target), STATIC):
        write_layer_model(group, lowering, target, path := tmp_path / "layer.onnx")
        nodes = onnx.load(path).graph.node
        assert (nodes[0].op_type, nodes[-1].op_type) == ("QuantizeLinear", "DequantizeLinear")
        assert nodes[-1].input[0] in {name for node in nodes if node.op_type == "QLinearConv" for name in node.output}
        assert not {"Conv", "Clip"} & {node.op_type for node in nodes}
    write_layer_model(group, STATIC, in_int8(LITERT), path := tmp_path / "layer.tflite")
    assert delegation(LiteRtSession(path.read_bytes())).whole


def test_a_layer_for_litert_asks_for_half_precision(group, tmp_path):
    """On this machine it computes in float32; a core with the arithmetic is asked to use it."""
    for precision in ("float32", "float16"):
        target = target_for("litert", "tflite", precision)
        write_layer_model(group, "branch", target, path := tmp_path / f"{precision}.tflite")
        assert (ACCUMULATED_IN_HALF in path.read_bytes()) == (precision == "float16")


def test_times_of_one_precision_are_none_of_another(group, tmp_path):
    times = LayerTimes({}, "1")
    kept_or_measured(tmp_path, group.case, in_int8(LITERT), WHERE, lambda: times, lambda _: True)
    assert kept(tmp_path, group.case, in_int8(LITERT), WHERE) == times
    assert kept(tmp_path, group.case, LITERT, WHERE) is None


def lowering_of(precision):
    layers = {"features.2.conv.0": "factored" if precision == "int8" else "branch"}
    network = ("mobilenetv2_dcd ×0.25, fc_squeeze 8", ((3, 32, 32),), "onnxruntime", "1", "ssh://pi@board", "cpu", 1)
    return TunedLowering("onnxruntime-arm", "onnx", *network, layers, precision)


def test_a_lowering_of_another_precision_is_refused(digits_checkpoint, tmp_path):
    """Before any work, in one line that says which was expected and found."""
    for tuned in ("float32", "float16", "int8"):
        write_lowering(file := tmp_path / f"{tuned}.json", lowering_of(tuned))
        assert read_lowering(file) == lowering_of(tuned)
        for wanted in sorted({"float32", "float16", "int8"} - {tuned}):
            options = DIGITS_OPTIONS | {"lowering": file, "precision": wanted}
            with pytest.raises(LoweringFileError) as refusal:
                commands.export(digits_checkpoint, out=tmp_path / "out", **options)
            assert str(refusal.value) == (
                f"expected a lowering that was tuned in `precision` {wanted}, found one in {tuned}; "
                f"run 'dcd-deploy tune' in {wanted}, or leave `lowering` out"
            )
    assert not (tmp_path / "out").exists()


def test_costs_in_int8_count_instructions(digits_checkpoint):
    told = commands.costs(digits_checkpoint, target="onnxruntime-arm", precision="int8", input_size=32)
    assert (told.precision, told.unit) == ("int8", "thousand instructions")
    assert "no times, and without the attention" in told.basis
    assert {one.lowering for shape in told.shapes for one in shape.lowerings} == {"kernel", "factored"}
    sums = [one.extra * len(s.layers) for s in told.shapes for one in s.lowerings if one.lowering == s.taken]
    assert told.extra == pytest.approx(np.sum(sums))


@pytest.mark.parametrize("command", [commands.costs, commands.tune])
def test_precisions_that_a_target_has_not(command, digits_checkpoint):
    with pytest.raises(OptionError, match=r"`target` whose files compute in int8.*found executorch, .* float32 alone"):
        command(digits_checkpoint, target="executorch", precision="int8", input_size=32)
    with pytest.raises(UnknownNameError, match="did you mean 'int8'"):
        command(digits_checkpoint, target="litert", precision="int4", input_size=32)
