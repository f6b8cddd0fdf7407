"""Sums in int8 that an x86 without VNNI cuts off: asked of the processor, told of, and kept out of the gate."""

import warnings
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from x86 import emulated

from dcd_deploy.artifacts import Precision
from dcd_deploy.export.onnx.quantised.exact import exact_session, in_uint8
from dcd_deploy.runtimes import OtherNumbersWarning, open_model, saturation
from dcd_deploy.runtimes import model as model_module
from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession
from dcd_deploy.runtimes.saturation import PROBE, saturates, warn_of_saturation

CHANNELS, OUTPUTS, SIDE = 8, 4, 5


def info(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def test_the_probe_is_the_model_that_it_says():
    inputs = [info("a", TensorProto.UINT8, [1, 4]), info("b", TensorProto.INT8, [4, 1])]
    product = helper.make_node("MatMulInteger", ["a", "b"], ["y"])
    graph = helper.make_graph([product], "g", inputs, [info("y", TensorProto.INT32, [1, 1])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    assert onnx.load_from_string(PROBE) == model


@pytest.mark.parametrize("computed", [False, True], ids=["constant weights", "computed weights"])
def test_exact_sums_are_those_of_whole_numbers(computed, monkeypatch):
    """With what is cut off, and without: on every processor the exact graph gives what integers give."""
    x, weights = extremes()
    model = convolution(weights, computed=computed)
    wanted = np.einsum("nchw,kc->nkhw", x.astype(np.int64), weights.astype(np.int64))
    wanted = np.clip(np.rint(wanted / 8192.0) + 128, 0, 255)
    monkeypatch.setattr("dcd_deploy.export.onnx.quantised.exact.saturates", lambda: True)
    np.testing.assert_array_equal(exact_session(model).run(x), wanted)
    plain = OnnxRuntimeSession(model.SerializeToString()).run(x)
    assert np.array_equal(plain, wanted) is not saturates()


def extremes():
    """Return a map of large values, and weights of 8 bits whose sums do not fit in 16."""
    rng = np.random.default_rng(0)
    x = rng.integers(200, 256, (1, CHANNELS, SIDE, SIDE)).astype(np.uint8)
    weights = rng.integers(90, 128, (OUTPUTS, CHANNELS)).astype(np.int8)
    weights[1::2] *= -1
    return x, weights


def convolution(weights, *, computed):
    """Return x → QLinearConv, whose weights are constant or quantised in the graph."""
    shape = (OUTPUTS, CHANNELS, 1, 1)
    constants = {
        "x_scale": np.float32(1),
        "x_zero": np.uint8(0),
        "scales": np.ones(OUTPUTS, np.float32),
        "zeros": np.zeros(OUTPUTS, np.int8),
        "y_scale": np.float32(8192),
        "y_zero": np.uint8(128),
    }
    constants |= {"float": weights.reshape(shape).astype(np.float32)} if computed else {"w": weights.reshape(shape)}
    nodes = [helper.make_node("QuantizeLinear", ["float", "scales", "zeros"], ["w"], axis=0)] if computed else []
    nodes.append(
        helper.make_node("QLinearConv", ["x", "x_scale", "x_zero", "w", "scales", "zeros", "y_scale", "y_zero"], ["y"])
    )
    ends = (info("x", TensorProto.UINT8, [1, CHANNELS, SIDE, SIDE]), info("y", TensorProto.UINT8, None))
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", [ends[0]], [ends[1]], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.long
def test_a_network_is_the_same_in_uint8(digits_int8):
    """The bundled one, whose weights of 7 bits no processor cuts off."""
    model = onnx.load(digits_int8.artifact.path)
    x = np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32)
    plain, exact = (OnnxRuntimeSession(each.SerializeToString()).run(x) for each in (model, in_uint8(model)))
    np.testing.assert_array_equal(plain, exact)


def test_a_file_of_8_bits_is_told_of_where_sums_are_cut_off(digits_export, monkeypatch):
    card = digits_export.artifact.card
    files = {bits: replace(card, precision=Precision("int8", bits=bits)) for bits in (7, 8)}
    monkeypatch.setattr(saturation, "saturates", lambda: True)
    with pytest.warns(OtherNumbersWarning, match="for ARM: its weights have 8 bits"):
        warn_of_saturation(files[8])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_saturation(files[7])
        monkeypatch.setattr(saturation, "saturates", lambda: False)
        warn_of_saturation(files[8])


def test_whoever_opens_a_file_of_onnxruntime_is_told(onnx_file, digits_tflite, monkeypatch):
    asked = []
    monkeypatch.setattr(model_module, "warn_of_saturation", asked.append)
    opened = [open_model(path) for path in (onnx_file, digits_tflite.artifact.path)]
    assert asked == [opened[0].card]


@pytest.mark.long
def test_an_emulated_haswell_cuts_off():
    ask = "from dcd_deploy.runtimes.saturation import saturates; print(saturates())"
    done = emulated("AVX2", "-c", ask)
    assert (done.stdout.strip(), done.returncode) == ("True", 0), done.stderr
