"""Networks of several inputs and outputs, of any rank and size: references, gate, files and sessions."""

import functools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from capturing import Calling
from torch import nn

from dcd_deploy import deploy_form, export_module
from dcd_deploy.artifacts import NHWC, TensorSpec
from dcd_deploy.card_json import read_card
from dcd_deploy.errors import CaptureError, ExportError, ModelFileError, OptionError, VerificationError
from dcd_deploy.export.reference import generated_reference, make_reference, run_torch, runner
from dcd_deploy.export.verify import compare
from dcd_deploy.lowering.outputs import flat
from dcd_deploy.runtimes import open_model, self_check
from dcd_deploy.runtimes.litert import LiteRtSession
from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession
from dcd_deploy.samples import InputSpec, generated_inputs

INPUTS = (InputSpec("input", (5, 13, 9)), InputSpec("input_1", (7,), 3.0))


class Segmenter(nn.Module):
    """Maps (N, 5, H, W) and vectors (N, 7) to a map (N, 2, H, W), a table (N, 3, 4) and a vector (N, 6)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(5, 4, 3, padding=1)
        self.mask = nn.Conv2d(4, 2, 1)
        self.table = nn.Linear(7, 12)
        self.vector = nn.Linear(4, 6)

    def forward(self, x, v):
        y = torch.relu(self.conv(x)) + self.table(v)[:, :4, None, None]
        return {
            "mask": self.mask(y),
            "table": self.table(v).view(-1, 3, 4),
            "vector": self.vector(y.mean((2, 3))) * 1e-3,  # of a small range of its own
        }


@pytest.fixture(scope="module")
def segmenter() -> nn.Module:
    return Segmenter().double().eval()


def exported(network, folder, format, inputs=INPUTS, **settings):
    examples = tuple(torch.from_numpy(values) for values in generated_inputs(inputs, None, 1))
    return export_module(network, examples, to=format, out=folder, name="net", **settings)


@pytest.fixture(scope="module")
def made(segmenter, tmp_path_factory):
    """Exports of the segmenter, each made once."""

    @functools.cache
    def made(format, **settings):
        return exported(segmenter, tmp_path_factory.mktemp("made"), format, **settings)

    return made


@pytest.mark.parametrize(("format", "batch"), [("onnx", 1), ("onnx", None), ("onnx", 3), ("tflite", 1), ("tflite", 2)])
def test_several_inputs_and_outputs(segmenter, made, format, batch):
    result = made(format, batch=batch)
    report = result.built.report
    assert report.passed
    assert all(c.output in ("mask", "table", "vector") for c in report.comparisons)
    assert report.sensitivity is None
    assert "no dynamic layer" in report.notes[0]
    model = open_model(result.artifact.path)
    assert read_card(model.card.to_json()) == model.card
    assert (model.card.arch, model.card.spec, model.card.preprocessing) == ("Segmenter", None, None)
    last = format == "tflite"
    maps = [(batch, 13, 9, 5), (batch, 13, 9, 2)] if last else [(batch, 5, 13, 9), (batch, 2, 13, 9)]
    assert [(t.name, t.shape) for t in model.card.inputs] == [("input", maps[0]), ("input_1", (batch, 7))]
    shapes = [maps[1], (batch, 3, 4), (batch, 6)]
    assert [(t.name, t.shape) for t in model.card.outputs] == list(
        zip(["mask", "table", "vector"], shapes, strict=True)
    )
    assert [t.layout for t in model.session.outputs] == ["nhwc" if last else "nchw", None, None]
    samples = generated_inputs(INPUTS, None, 5)
    wanted = run_torch(segmenter, samples)
    for name, values in zip(wanted, model.run_all(*samples), strict=True):
        assert values.shape == wanted[name].shape
        assert np.abs(values - wanted[name]).max() <= 5e-5 * np.ptp(wanted[name]), name
    assert self_check(model).passed
    with pytest.raises(OptionError, match=r"expected a classifier.*; in Python, run_named\(\) returns them"):
        model.predict(np.zeros((4, 4, 3), np.uint8))
    sidecar = json.loads(result.artifact.sidecar_path.read_text())
    assert sidecar["notes"] == list(result.built.notes)
    macs = sidecar["macs"]
    assert macs["static_twin"] == macs["released_form"] > 0, "no layer is dynamic"
    assert macs["released_form"] - macs["this_file"] in (0, 7 * 12), "the table may be computed once for both its uses"


def test_channels_first_on_request(segmenter, tmp_path):
    model = open_model(exported(segmenter, tmp_path, "tflite", layout="nchw").artifact.path)
    assert [t.shape for t in model.session.inputs] == [(1, 5, 13, 9), (1, 7)]
    assert model.session.outputs[0].shape == (1, 2, 13, 9)
    assert self_check(model).passed


def test_a_map_of_three_rows_is_not_taken_for_a_picture(tmp_path):
    """(N, 5, 4, 3), channels first: its last size is 3, and no channel count."""
    network = nn.Sequential(nn.Conv2d(5, 2, 1)).double().eval()
    inputs = (InputSpec("input", (5, 4, 3)),)
    for layout in ("nchw", "nhwc"):
        result = exported(network, tmp_path / layout, "tflite", inputs=inputs, layout=layout)
        model = open_model(result.artifact.path)
        assert {t.layout for t in (*model.session.inputs, *model.session.outputs)} == {layout}
        assert model.card.output.name == "output"
        assert self_check(model).passed


def test_the_worst_output_decides_by_its_own_range(segmenter):
    reference = generated_reference(segmenter, None, 5e-5, INPUTS)

    def off(name, by):
        def run(inputs):
            outputs = run_torch(segmenter, inputs)
            outputs[name] = outputs[name] + by
            return tuple(outputs.values())

        return run

    for name in ("mask", "table", "vector"):
        by = 1e-4 * reference.range(name)
        for comparison in compare("planted", off(name, by), reference, 5e-5):
            assert (comparison.output, comparison.passed) == (name, False)
            assert comparison.relative == pytest.approx(1e-4, rel=1e-3)
            assert (comparison.cosine is None) == (name != "vector")
    assert reference.range("vector") < 1e-2 * reference.range("mask"), "an error of it would hide in another's range"


def test_outputs_in_another_order_or_number_fail(segmenter):
    reference = generated_reference(segmenter, None, 5e-5, INPUTS)
    good = runner(segmenter)
    with pytest.raises(VerificationError, match="expected output 'mask' of shape"):
        compare("planted", lambda inputs: good(inputs)[::-1], reference, 5e-5)
    with pytest.raises(VerificationError, match="expected outputs"):
        compare("planted", lambda inputs: good(inputs)[:2], reference, 5e-5)


X = np.zeros((4, 3, 8, 8), np.float32) + np.arange(4, dtype=np.float32)[:, None, None, None]


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (lambda x: x.mean(0), VerificationError, "with an entry for each of 4 inputs"),
        (lambda x: x.mean(), VerificationError, r"found shape \(\)"),
        (lambda x: x.mean(0, keepdim=True), VerificationError, "return outputs that begin with the batch"),
        (
            lambda x: {"x": x, "a": torch.ones(5, 2)},
            VerificationError,
            r"'a' .* found shape \(5, 2\), the same for all",
        ),
        (lambda x: x.argmax(1), CaptureError, "expected output 'logits' of the network as a tensor of floating point"),
        (lambda x: (x, (x, x.argmax(1))), CaptureError, "expected output 'output_1_1' .* found torch.int64"),
        (lambda x: {"a": x, "b": 1.5}, CaptureError, "found float at 'b'"),
        (lambda x: {0.5: x}, CaptureError, "expected outputs with names, found the key 0.5"),
        (lambda x: {"": x}, CaptureError, "expected outputs with names, found the key ''"),
        (lambda x: {"a_b": x, "a": {"b": x}}, CaptureError, "found two called 'a_b'"),
        (lambda x: "logits", CaptureError, "found str"),
        (lambda x: [], CaptureError, "found one that returns none"),
        (lambda x: {"b": None}, CaptureError, "found one that returns none"),
    ],
)
def test_outputs_that_cannot_be_checked_are_refused(answer, error, words):
    with pytest.raises(error, match=words) as caught:
        make_reference(Calling(answer), X)
    assert "\n" not in str(caught.value)


def test_names_of_outputs():
    x = torch.zeros(1)
    assert list(flat(x)) == list(flat([x])) == ["output"]
    assert list(flat(x, "logits")) == ["logits"]
    assert list(flat((x, x))) == ["output_0", "output_1"]
    assert list(flat((x, (x, x)))) == ["output_0", "output_1_0", "output_1_1"]
    assert list(flat({"boxes": x, "scores": x, "loss": None})) == ["boxes", "scores"]
    assert list(flat({"maps": [x, x], "heads": {"a": x}})) == ["maps_0", "maps_1", "heads_a"]


def test_an_output_called_like_an_input_is_refused(tmp_path):
    network = Calling(lambda x: {"input": x + 1})
    with pytest.raises(OptionError, match="found one called 'input'"):
        exported(network, tmp_path, "onnx", inputs=(InputSpec("input", (3, 8, 8)),))
    assert not list(tmp_path.iterdir())


class Inner(nn.Module):
    def __init__(self, kind) -> None:
        super().__init__()
        self.kind = kind
        self.calls = 0
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x):
        if self.kind == "random":
            return x + torch.rand_like(x)
        if self.kind == "counts in a buffer":
            self.count += 1
        self.calls += 1
        return x * (self.calls if self.kind == "counts its calls" else 1)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("random", "another output each time that it is run, by its submodule '1'"),
        ("counts its calls", "another output each time that it is run, by its submodule '1'"),
        ("counts in a buffer", "changes its state .'1.count'."),
    ],
)
def test_a_network_that_is_no_function_is_refused(kind, words):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 2, 1), Inner(kind), nn.ReLU()).double().eval()
    with pytest.raises(ExportError, match=words):
        make_reference(network, X)
    make_reference(nn.Sequential(nn.Conv2d(3, 2, 1), Inner("nothing")).double().eval(), X)


class Following(nn.Module):
    """A buffer as large as the batch."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mask", torch.ones(1, 1, 1, 1))

    def forward(self, x):
        if len(self.mask) != len(x):
            self.mask = torch.ones(len(x), 1, 1, 1, dtype=x.dtype)
        return x * self.mask


def test_a_state_that_follows_the_batch_is_no_change():
    make_reference(nn.Sequential(nn.Conv2d(3, 2, 1), Following()).double().eval(), X)


def test_a_tensor_that_stays_in_float64_is_refused():
    conv = nn.Conv2d(2, 2, 1).double().requires_grad_(False)
    network = nn.Sequential(nn.Conv2d(3, 2, 1), Following()).double().eval()
    network[1].forward = lambda x: nn.functional.conv2d(x, conv.weight)
    with pytest.raises(ExportError, match="does not run in float32.*keep its tensors in buffers"):
        make_reference(network, X)


def untracked():
    return nn.Sequential(nn.Conv2d(3, 2, 1), nn.Sequential(nn.BatchNorm2d(2, track_running_stats=False))).eval()


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (untracked(), r"by its submodule '1\.0', a norm without running statistics \(track_running_stats=False\)"),
        (
            nn.Sequential(nn.Conv2d(3, 2, 1), Calling(lambda x: x - x.mean(0))),
            "by its submodule '1'; a file computes",
        ),
    ],
)
def test_a_network_whose_samples_mix_is_refused(network, words, tmp_path):
    example = torch.randn(1, 3, 8, 8)
    for refusing in (
        lambda: export_module(network, example, out=tmp_path),
        lambda: deploy_form(network, example),
    ):
        with pytest.raises(ExportError, match="depends on the others of its batch, " + words):
            refusing()
    assert not list(tmp_path.iterdir())


def test_dropout_in_training_mode_is_random():
    with pytest.raises(ExportError, match="submodule '1'"):
        make_reference(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Dropout()).double(), X)


def test_sessions_take_all_inputs(made):
    for format, kind in (("onnx", OnnxRuntimeSession), ("tflite", LiteRtSession)):
        session = kind(made(format, batch=1).artifact.path)
        picture, vector = generated_inputs(INPUTS, None, 1)
        assert len(session.run_all([picture, vector])) == 3
        with pytest.raises(ModelFileError, match=r"takes 2 inputs \('input', 'input_1'\), found 1"):
            session.run(picture)
        session.prepare(picture, vector)()


def test_layouts_of_shapes():
    assert TensorSpec("x", (1, 8, 6, 5), layout=NHWC).torch_shape == (1, 5, 8, 6)
    assert TensorSpec("x", (None, 5), layout=None).torch_shape == (None, 5)
    spec = TensorSpec("x", (1, 8, 6, 5))
    assert replace(spec, layout="nchw").torch_shape == (1, 8, 6, 5)
