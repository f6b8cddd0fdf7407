"""TFLite: the file itself, what runs it, and what it knows about itself."""

import json
import subprocess
from pathlib import Path

import digits
import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from golden_cases import load_module
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dcd_deploy import commands
from dcd_deploy.artifacts import METADATA_KEY
from dcd_deploy.errors import (
    ExportError,
    InputFileError,
    MissingDependencyError,
    ModelFileError,
    OptionError,
    UnknownNameError,
)
from dcd_deploy.export import to_tflite as to_tflite_module
from dcd_deploy.export.deployable import deployable
from dcd_deploy.export.tflite_file import TfliteModel, tflite_stats
from dcd_deploy.export.to_tflite import to_tflite
from dcd_deploy.models.deploy.channels_last import CHANNELS_LAST, operators
from dcd_deploy.models.deploy.channels_last.parts import Conv
from dcd_deploy.models.deploy.network import to_deploy
from dcd_deploy.models.deploy.targets import PORTABLE_TFLITE
from dcd_deploy.runtimes import litert, open_model, self_check
from dcd_deploy.runtimes.delegation import delegation
from dcd_deploy.runtimes.flatbuffer import read_texts
from dcd_deploy.runtimes.litert import LiteRtSession
from dcd_deploy.samples import verification_inputs

ROOT = Path(__file__).parent.parent
LEGACY = ROOT / ".venv-tflite-runtime" / "bin" / "python"
FLOAT32 = 5e-5
NETWORKS = ["mobilenetv2_dcd_w0.1_10c_64px", "mobilenetv2_dcd_w1.0", "resnet18_dcd"]


class OnChannelsLast(nn.Module):
    """A module on maps (N, H, W, C) that is given images (N, 3, H, W)."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(operators.to_channels_last(x))


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return self.function(x)


def legacy(path, *arguments):
    assert LEGACY.exists(), "the environment of tflite-runtime is missing: run the tests with `make test`"
    command = [LEGACY, ROOT / "tests" / "legacy_reader.py", path, *arguments]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


# ---- the file


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


OPERATOR_ARGUMENTS = {
    "conv_2d": ((2, 9, 7, 4), (5, 3, 3, 4), (5,), 2, False),
    "depthwise_conv_2d": ((2, 9, 7, 4), (1, 3, 3, 4), (4,), 1, True),
    "average_pool_2d": ((2, 9, 7, 4), 3, 2, 2, 1),
    "max_pool_2d": ((2, 9, 7, 4), 3, 2),
    "batch_matmul": ((2, 3, 5, 4), (2, 1, 4, 6)),
    "batch_matmul of one for all": ((1, 1, 5, 4), (2, 3, 4, 6)),
}


@pytest.mark.parametrize("name", OPERATOR_ARGUMENTS)
def test_the_shapes_said_of_the_operators_are_those_they_compute(name):
    arguments = [torch.rand(a) if isinstance(a, tuple) else a for a in OPERATOR_ARGUMENTS[name]]
    operator = getattr(torch.ops.dcd_deploy, name.partition(" ")[0]).default
    torch.library.opcheck(operator, arguments, test_utils="test_faketensor")


@pytest.mark.parametrize("name", NETWORKS)
def test_golden_networks(name):
    case, network = load_module(name)
    size = case.input.shape[2:]
    content = to_tflite(deployable(to_deploy(network, *size, target=PORTABLE_TFLITE)), *size)
    assert tflite_stats(content).nodes <= 480
    for xnnpack in (False, True):
        session = LiteRtSession(content, xnnpack=xnnpack)
        outputs = np.concatenate([session.run(image[None]) for image in case.input])
        assert case.error(outputs) <= FLOAT32
    found = delegation(session)
    assert found.whole, found.left_out


@pytest.mark.parametrize("lowering", CHANNELS_LAST.forms)
def test_batches_and_forms(small_checkpoint, tmp_path, lowering):
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


def test_channels_first_on_request(small_checkpoint, tmp_path):
    last = commands.export(small_checkpoint, to="tflite", input_size=32, out=tmp_path, name="last")
    first = commands.export(small_checkpoint, to="tflite", input_size=32, layout="nchw", out=tmp_path, name="first")
    assert open_model(first.artifact.path).session.inputs[0].shape == (1, 3, 32, 32)
    assert first.built.finished.operators["TRANSPOSE"] == 1
    images = verification_inputs(first.artifact.card.preprocessing, 2)
    outputs = [open_model(result.artifact.path).run(images) for result in (last, first)]
    assert np.abs(outputs[0] - outputs[1]).max() <= 1e-5 * np.ptp(outputs[0])


def test_both_formats_at_once(small_checkpoint, tmp_path):
    result = commands.export(small_checkpoint, to="onnx,tflite", input_size=32, out=tmp_path, name="net")
    assert [file.artifact.format for file in result.files] == ["onnx", "tflite"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.onnx", "net.onnx.json", "net.tflite", "net.tflite.json"]
    images = verification_inputs(result.artifact.card.preprocessing, 2)
    onnx, tflite = (open_model(file.artifact.path).run(images) for file in result.files)
    assert np.abs(onnx - tflite).max() <= FLOAT32 * np.ptp(onnx)


# ---- the gate


@pytest.fixture(scope="module")
def converted():
    """A network in which every weight matters, as a TFLite model, with the golden outputs."""
    case, network = load_module("mobilenetv2_dcd_w0.1_10c_64px")
    size = case.input.shape[2:]
    return case, to_tflite(deployable(to_deploy(network, *size, target=PORTABLE_TFLITE)), *size)


def outputs_with(content: bytes, change, images) -> np.ndarray:
    """Return what the model answers after ``change`` was made to its objects."""
    model = TfliteModel.from_bytes(content)
    change(model)
    session = LiteRtSession(model.to_bytes())
    return np.concatenate([session.run(image[None]) for image in images])


def convolutions(content: bytes, module: str) -> list[int]:
    """Return the places of the convolutions that ``module`` of the deploy form became."""
    model = TfliteModel.from_bytes(content)
    names = [model.graph.tensors[operator.outputs[0]].name.decode() for operator in model.graph.operators]
    kinds = [model.operator_name(operator) for operator in model.graph.operators]
    return [
        i for i, (name, kind) in enumerate(zip(names, kinds, strict=True)) if "CONV" in kind and f"_{module}" in name
    ]


def weight(model: TfliteModel, place: int, operand: int = 1):
    tensor = model.graph.tensors[model.graph.operators[place].inputs[operand]]
    buffer = model.root.buffers[tensor.buffer]
    return buffer, np.asarray(buffer.data, np.uint8).view(np.float32).copy().reshape(tensor.shape)


def store(buffer, values) -> None:
    buffer.data = np.ascontiguousarray(values, np.float32).view(np.uint8).ravel()


def test_without_a_fault_it_passes(converted):
    case, content = converted
    assert case.error(outputs_with(content, lambda model: None, case.input)) <= FLOAT32


@pytest.mark.parametrize("module", ["squeeze", "gate", "phi", "scale", "shift", "static", "query", "project", "conv"])
def test_one_weight_tensor_of_each_kind_scaled_by_one_percent(converted, module):
    case, content = converted
    places = convolutions(content, module)
    if module in ("static", "query") and not places:
        pytest.fail(f"no convolution was found for {module}")

    for place in {places[0], places[len(places) // 2], places[-1]}:

        def scale(model, place=place):
            buffer, values = weight(model, place)
            store(buffer, 1.01 * values)

        assert case.error(outputs_with(content, scale, case.input)) > FLOAT32, (module, place)


def test_phi_transposed_frozen_and_lambda_dropped(converted):
    case, content = converted

    def transpose(model, place):
        buffer, values = weight(model, place)
        latent = int(np.sqrt(values.shape[0]))
        store(buffer, values.reshape(latent, latent, -1).swapaxes(0, 1))

    def frozen(model, place):
        buffer, values = weight(model, place)
        store(buffer, 0 * values)

    for place in convolutions(content, "phi"):
        assert case.error(outputs_with(content, lambda m, p=place: transpose(m, p), case.input)) > FLOAT32
        assert case.error(outputs_with(content, lambda m, p=place: frozen(m, p), case.input)) > FLOAT32
    for place in convolutions(content, "scale"):
        assert case.error(outputs_with(content, lambda m, p=place: frozen(m, p), case.input)) > FLOAT32


def test_a_bias_lost(converted):
    case, content = converted

    def lost(model, place):
        buffer, values = weight(model, place, 2)
        store(buffer, 0 * values)

    for module in ("phi", "scale", "project", "query"):
        for place in convolutions(content, module)[::4]:
            _, values = weight(TfliteModel.from_bytes(content), place, 2)
            if np.any(values):
                found = outputs_with(content, lambda m, p=place: lost(m, p), case.input)
                assert case.error(found) > FLOAT32, (module, place)


def test_a_fault_in_the_conversion_stops_the_export(monkeypatch, tmp_path, small_checkpoint):
    from dcd_deploy.export import build_tflite

    honest = build_tflite.finish

    def wrongly(content, places):
        model = TfliteModel.from_bytes(honest(content, places))
        buffer, values = weight(model, convolutions(content, "phi")[0])
        store(buffer, 1.01 * values)
        return model.to_bytes()

    monkeypatch.setattr(build_tflite, "finish", wrongly)
    with pytest.raises(Exception, match="TFLite, plain kernels, inputs one by one: expected outputs within 5.0e-05"):
        commands.export(small_checkpoint, to="tflite", input_size=32, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_that_are_not_laid_out_in_a_row():
    """litert-torch would take one constant for another; our conversion lays them out first."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3 if i == 0 else 8, 8, 3, 1, 1) for i in range(12)]
    network = OnChannelsLast(nn.Sequential(*map(Conv, layers))).eval()
    assert not all(weight.is_contiguous() for weight in network.parameters())
    image = torch.randn(1, 3, 6, 5)
    with torch.inference_mode():
        wanted = network(image).numpy()
    found = LiteRtSession(to_tflite(deployable(network), 6, 5)).run(image.numpy())
    assert np.abs(found - wanted).max() <= 1e-5


# ---- the interpreters


def test_two_pictures_through_one_interpreter(digits_tflite, held_out):
    images = digits.normalised(held_out[0][:2])
    model = open_model(digits_tflite.artifact.path)
    first, second, again = (model.run(images[i : i + 1]) for i in (0, 1, 0))
    assert np.array_equal(first, again)
    assert np.abs(first - second).max() > 1


def test_it_runs_unchanged_under_tflite_runtime(digits_tflite, held_out, tmp_path):
    images = digits.normalised(held_out[0])
    np.save(tmp_path / "images.npy", images)
    answer = legacy(digits_tflite.artifact.path, tmp_path / "images.npy")
    assert answer["runtime"] == "tflite-runtime"
    assert answer["passed"]
    assert answer["relative"] <= FLOAT32
    assert answer["classes"] == open_model(digits_tflite.artifact.path).run(images).argmax(1).tolist()
    assert answer["labels"] == digits.LABELS if isinstance(digits.LABELS, list) else list(digits.LABELS)
    assert answer["loaded"] == [], "open_model needs numpy and one interpreter alone"


def test_standard_metadata(digits_tflite):
    """What TensorFlow Lite Support's own reader finds."""
    answer = legacy(digits_tflite.artifact.path)
    assert answer["standard"]["name"] == "mobilenetv2_dcd"
    (graph,) = answer["standard"]["subgraph_metadata"]
    (entry,), (output,) = graph["input_tensor_metadata"], graph["output_tensor_metadata"]
    assert entry["content"]["content_properties"] == {"color_space": "RGB", "default_size": {"width": 32, "height": 32}}
    assert entry["process_units"][0]["options"] == {"mean": [127.5] * 3, "std": [127.5] * 3}
    assert output["associated_files"] == [{"name": "labels.txt", "type": "TENSOR_AXIS_LABELS"}]
    assert answer["files"] == {"labels.txt": "".join(f"{label}\n" for label in digits.LABELS)}


def test_what_the_delegate_leaves_out():
    network = OnChannelsLast(Function(lambda x: torch.sin(x)[:, ::2, ::2] * 2))
    found = delegation(LiteRtSession(to_tflite(deployable(network), 8, 10)))
    assert not found.whole
    assert {left.operator for left in found.left_out} == {"STRIDED_SLICE"}
    assert found.left_out[0].reason == "XNNPACK slices with strides of 1 alone"


def test_the_whole_network_is_delegated(digits_tflite):
    summary = commands.inspect(digits_tflite.artifact.path)
    assert summary.delegation.whole
    assert summary.delegation.taken == summary.graph.nodes == digits_tflite.built.finished.nodes
    assert summary.card == digits_tflite.artifact.card
    assert summary.graph.macs == digits_tflite.built.finished.macs > 1e6


# ---- the commands


def test_verify_predict_and_bench(digits_tflite, digits_checkpoint):
    path = digits_tflite.artifact.path
    assert commands.verify(path, checkpoint=digits_checkpoint).passed
    assert self_check(open_model(path)).passed
    assert commands.predict(path, ROOT / "examples" / "digits" / "seven.png")[0].label == "seven"
    result = commands.bench(path, min_runs=8, min_seconds=0, rounds=1)
    assert result.trials[0].timings[1].path == str(digits_tflite.baseline)
    assert "static twin" in result.trials[0].ratios


def test_a_twin_is_made_where_none_lies_beside(digits_tflite, tmp_path):
    path = tmp_path / "alone.tflite"
    path.write_bytes(digits_tflite.artifact.path.read_bytes())
    assert "static twin" in commands.bench(path, min_runs=8, min_seconds=0, rounds=1, memory=False).trials[0].ratios


# ---- bad input


def test_a_converter_that_is_not_installed(monkeypatch, small_checkpoint, tmp_path):
    monkeypatch.setattr("dcd_deploy.optional.find_spec", lambda name: None if name == "litert_torch" else object())
    with pytest.raises(
        MissingDependencyError, match=r"needs the package 'litert_torch'.*'dcd-deploy\[tflite-export\]'"
    ):
        commands.export(small_checkpoint, to="tflite", input_size=32, out=tmp_path)


def test_an_interpreter_that_is_not_installed(monkeypatch, digits_tflite):
    monkeypatch.setattr("dcd_deploy.optional.import_module", missing)
    with pytest.raises(MissingDependencyError, match=r"'ai_edge_litert'.*'dcd-deploy\[tflite\]'"):
        open_model(digits_tflite.artifact.path)


def missing(name):
    raise ImportError(f"No module named '{name}'")


def test_an_operator_that_the_converter_refuses():
    class Refused(nn.Module):
        def forward(self, x):
            return torch.linalg.eigvals(x).real

    network = nn.Sequential()
    network.add_module("stem", OnChannelsLast(nn.Sequential(Conv(nn.Conv2d(3, 4, 1)))))
    network.add_module("spectrum", OnChannelsLast(Refused()))
    with pytest.raises(
        ExportError, match=r"litert-torch refused the network in layer 'spectrum.module': .*; try another"
    ) as caught:
        to_tflite(deployable(network), 4, 4)
    assert "\n" not in str(caught.value)
    assert "linalg_eig" in str(caught.value)


def test_an_interpreter_too_old_for_the_file(monkeypatch, digits_tflite):
    class Old:
        OpResolverType = litert.interpreter_module().OpResolverType

        @staticmethod
        def Interpreter(**_):  # noqa: N802
            raise ValueError("Didn't find op for builtin opcode 'BATCH_MATMUL' version '9'. An older version might be")

    Old.__name__ = "tflite_runtime.interpreter"
    monkeypatch.setattr(litert, "interpreter_module", lambda: Old)
    with pytest.raises(
        ModelFileError, match=r"tflite-runtime says: Didn't find op.*the file needs TFLite 2\.\d+\.\d+ or later"
    ):
        open_model(digits_tflite.artifact.path)


def test_options_that_tflite_has_no_words_for(small_checkpoint, tmp_path):
    with pytest.raises(OptionError, match="expected a --batch number for TFLite"):
        commands.export(small_checkpoint, to="tflite", input_size=32, batch=None, out=tmp_path)
    with pytest.raises(UnknownNameError, match="unknown layout 'nhcw': did you mean 'nhwc'"):
        commands.export(small_checkpoint, to="tflite", input_size=32, layout="nhcw", out=tmp_path)
    with pytest.raises(UnknownNameError, match="unknown format 'tflight': did you mean 'tflite'"):
        commands.export(small_checkpoint, to="onnx,tflight", input_size=32, out=tmp_path)


def test_files_that_are_no_models(tmp_path, digits_tflite):
    with pytest.raises(InputFileError, match="no such file"):
        open_model(tmp_path / "none.tflite")
    whole = digits_tflite.artifact.path.read_bytes()
    for name, content in (("cut", whole[: len(whole) // 2]), ("noise", b"\x00" * 100), ("text", b"hello")):
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match="expected a TFLite model at"):
            open_model(path)


def test_a_foreign_file_runs_but_knows_nothing_of_itself(tmp_path):
    path = tmp_path / "foreign.tflite"
    path.write_bytes(to_tflite(deployable(OnChannelsLast(Conv(nn.Conv2d(3, 4, 1)))), 5, 6))
    model = open_model(path)
    assert model.card is None
    assert model.run(np.zeros((2, 3, 5, 6), np.float32)).shape == (2, 5, 6, 4)
    with pytest.raises(ModelFileError, match="it takes"):
        model.run(np.zeros((1, 3, 7, 6), np.float32))
    assert commands.inspect(path).card is None


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_damage_crashes_the_reader(digits_tflite, data):
    """Whatever the bytes, the reader returns texts or a ModelFileError."""
    content = bytearray(digits_tflite.artifact.path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 4000))] = data.draw(st.integers(0, 255))
    end = data.draw(st.sampled_from([len(content), len(content) // 3, 5000, 100, 9]))
    try:
        texts = read_texts(bytes(content[:end]), "damaged")
    except ModelFileError:
        return
    assert all(isinstance(text, str) for text in texts.values())


def test_the_readers_texts(digits_tflite):
    texts = read_texts(digits_tflite.artifact.path.read_bytes(), "whole")
    assert json.loads(texts[METADATA_KEY])["arch"] == "mobilenetv2_dcd"
    assert to_tflite_module.LAYOUTS == ("nhwc", "nchw")
