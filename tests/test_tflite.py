"""TFLite: the file itself, from its operators to what the commands make of it."""

import json
from pathlib import Path

import digits
import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from deployed import deployed
from golden_cases import load_module

from dcd_deploy import commands
from dcd_deploy.export.deployable import deployable
from dcd_deploy.export.tflite.convert import to_tflite
from dcd_deploy.export.tflite.file import tflite_stats
from dcd_deploy.lowering.channels_last import CHANNELS_LAST
from dcd_deploy.lowering.targets import PORTABLE_TFLITE
from dcd_deploy.runtimes import litert, open_model, self_check
from dcd_deploy.runtimes.litert import LiteRtSession
from dcd_deploy.runtimes.nodes import delegation
from dcd_deploy.samples import verification_inputs

ROOT = Path(__file__).parent.parent
FLOAT32 = 5e-5
NETWORKS = [
    "mobilenetv2_dcd_w0.1_10c_64px",
    pytest.param("mobilenetv2_dcd_w1.0", marks=pytest.mark.exhaustive),
    pytest.param("resnet18_dcd", marks=pytest.mark.exhaustive),
]


def test_names_shapes_and_operators(digits_tflite):
    path = digits_tflite.artifact.path
    model = open_model(path)
    (entry,), (answer,) = model.session.inputs, model.session.outputs
    assert (entry.name, entry.shape, entry.dtype) == ("input", (1, 32, 32, 3), "float32")
    assert (answer.name, answer.shape, answer.dtype) == ("logits", (1, 10), "float32")
    stats = digits_tflite.built.finished
    assert not stats.operators.keys() & {"TRANSPOSE", "RELU6", "DEQUANTIZE", "FULLY_CONNECTED", "BROADCAST_TO"}
    assert stats.operators["RESHAPE"] == 33 + 1, "one for each layer's Φ, one for the logits"
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "digits-static.tflite",
        "digits.tflite",
        "digits.tflite.json",
    ]
    sidecar = json.loads(digits_tflite.artifact.sidecar_path.read_text())
    assert sidecar["layout"] == "nhwc"
    assert sidecar["versions"].keys() == {"torch", "litert-torch", "ai-edge-litert", "numpy"}


def test_the_signature_names_what_goes_in_and_out(digits_tflite):
    runner = litert.interpreter_module().Interpreter(model_path=str(digits_tflite.artifact.path)).get_signature_runner()
    assert list(runner.get_input_details()) == ["input"]
    assert list(runner.get_output_details()) == ["logits"]


def test_buffers_are_aligned(digits_tflite):
    """The schema asks for 16 bytes; the generated packing code forgets it."""
    content = digits_tflite.artifact.path.read_bytes()
    root = schema.Model.GetRootAsModel(content, 0)
    for index in range(root.BuffersLength()):
        buffer = root.Buffers(index)
        if buffer.DataLength():
            start = buffer._tab.Vector(buffer._tab.Offset(4))
            assert start % 16 == 0


def test_it_is_as_accurate_as_the_checkpoint(digits_tflite, held_out):
    images, _ = held_out
    found = open_model(digits_tflite.artifact.path).run(digits.normalised(images))
    checkpoint, network = digits_train_form()
    with torch.inference_mode():
        trained = network(torch.from_numpy(digits.normalised(images)).double()).numpy()
    assert (found.argmax(1) == trained.argmax(1)).all()
    assert np.abs(found - trained).max() <= FLOAT32 * np.ptp(trained)
    assert 100 * np.mean(found.argmax(1) == held_out[1]) == pytest.approx(checkpoint.info["best_prec1"])


def digits_train_form():
    from dcd_deploy.models.checkpoint import read_checkpoint
    from dcd_deploy.models.fit import fit, load_network

    checkpoint = read_checkpoint(ROOT / "examples" / "digits" / "dcd.pth.tar")
    return checkpoint, load_network(checkpoint, fit(checkpoint))


@pytest.mark.parametrize("name", NETWORKS)
def test_golden_networks(name):
    case, network = load_module(name)
    size = case.input.shape[2:]
    content = to_tflite(deployable(deployed(network, *size, target=PORTABLE_TFLITE).module), *size)
    assert tflite_stats(content).nodes <= 480
    for xnnpack in (False, True):
        session = LiteRtSession(content, xnnpack=xnnpack)
        outputs = np.concatenate([session.run(image[None]) for image in case.input])
        assert case.error(outputs) <= FLOAT32
    found = delegation(session)
    assert found.whole, found.left_out


@pytest.mark.parametrize(
    "lowering",
    [
        name if name == "kernel" else pytest.param(name, marks=pytest.mark.exhaustive)
        for name, kind in CHANNELS_LAST.lowerings.items()
        if kind.batches == "any"
    ],
)
def test_batches_and_lowerings(small_checkpoint, tmp_path, lowering):
    """Per-sample kernels at a fixed batch: each row of a batch is what the picture gives alone."""
    result = commands.export(
        small_checkpoint, to="tflite", input_size=(40, 32), batch=3, lowering=lowering, out=tmp_path
    )
    assert {c.mode for c in result.built.report.comparisons} == {"one by one", "in one batch"}
    model = open_model(result.artifact.path)
    assert model.session.inputs[0].shape == (3, 40, 32, 3)
    images = verification_inputs(result.artifact.card.preprocessing, 4)
    alone = np.concatenate([model.run(image[None]) for image in images])
    assert np.abs(model.run(images) - alone).max() <= 1e-5 * np.ptp(alone)
    found = delegation(model.session)
    assert found.whole, found.left_out


@pytest.fixture(scope="module")
def both(small_checkpoint, tmp_path_factory):
    """A small network in both formats."""
    out = tmp_path_factory.mktemp("both")
    return commands.export(small_checkpoint, to="onnx,tflite", input_size=32, out=out, name="net")


@pytest.mark.exhaustive
def test_channels_first_on_request(small_checkpoint, both, tmp_path):
    _, last = both.files
    first = commands.export(small_checkpoint, to="tflite", input_size=32, layout="nchw", out=tmp_path, name="first")
    assert open_model(first.artifact.path).session.inputs[0].shape == (1, 3, 32, 32)
    assert first.built.finished.operators["TRANSPOSE"] == 1
    images = verification_inputs(first.artifact.card.preprocessing, 2)
    outputs = [open_model(result.artifact.path).run(images) for result in (last, first.files[0])]
    assert np.abs(outputs[0] - outputs[1]).max() <= 1e-5 * np.ptp(outputs[0])


def test_both_formats_at_once(both):
    assert [file.artifact.format for file in both.files] == ["onnx", "tflite"]
    folder = both.artifact.path.parent
    assert sorted(p.name for p in folder.iterdir()) == ["net.onnx", "net.onnx.json", "net.tflite", "net.tflite.json"]
    images = verification_inputs(both.artifact.card.preprocessing, 2)
    onnx, tflite = (open_model(file.artifact.path).run(images) for file in both.files)
    assert np.abs(onnx - tflite).max() <= FLOAT32 * np.ptp(onnx)


def test_verify_predict_and_bench(digits_tflite, digits_checkpoint):
    path = digits_tflite.artifact.path
    assert commands.verify(path, checkpoint=digits_checkpoint).passed
    assert self_check(open_model(path)).passed
    assert commands.predict(path, ROOT / "examples" / "digits" / "seven.png")[0].label == "seven"
    result = commands.bench(path, min_runs=8, min_seconds=0, rounds=1)
    assert result.trials[0].timings[1].path == str(digits_tflite.baseline)
    assert "static twin" in result.trials[0].ratios


@pytest.mark.exhaustive
def test_a_twin_is_made_where_none_lies_beside(digits_tflite, tmp_path):
    path = tmp_path / "alone.tflite"
    path.write_bytes(digits_tflite.artifact.path.read_bytes())
    assert "static twin" in commands.bench(path, min_runs=8, min_seconds=0, rounds=1, memory=False).trials[0].ratios
