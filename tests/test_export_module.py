"""Any module, from Python: files whose outputs are its own, on inputs that the export has not seen."""

import io

import onnxruntime
import pytest
import torch
from foreign_networks import DYNAMIC_LAYERS, NETWORKS, calibrated
from mixture_layers import MixedKernels
from rich.console import Console
from right_answers import answers, assert_right, unseen
from torch import nn

import dcd_deploy
from dcd_deploy.errors import CaptureError, OptionError, VerificationError
from dcd_deploy.models.dynamic import ResNetDynamicConv
from dcd_deploy.models.random_weights import pictures
from dcd_deploy.reports.export import show_export
from dcd_deploy.runtimes import open_model


@pytest.fixture(scope="session")
def foreign():
    """Each network, made once."""
    return {name: make() for name, make in NETWORKS.items()}


FEW = ("segmenter", "grey", "shape flow")
EACH = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.exhaustive] * (name not in FEW)) for name in NETWORKS]
)


@EACH
def test_onnx_at_a_free_batch_is_right_for_any(name, foreign, tmp_path):
    module, example = foreign[name]
    result = dcd_deploy.export_module(module, example, out=tmp_path, batch="dynamic")
    assert {path.partition("#")[0] for path in result.built.lowering} == DYNAMIC_LAYERS[name]
    session = onnxruntime.InferenceSession(str(result.artifact.path), providers=["CPUExecutionProvider"])
    inputs = unseen(example, 5)
    wanted = answers(module, inputs)
    assert [output.name for output in session.get_outputs()] == list(wanted)
    for rows in (slice(0, 1), slice(0, 5)):
        fed = {entry.name: values[rows] for entry, values in zip(session.get_inputs(), inputs, strict=True)}
        assert_right(session.run(None, fed), wanted, rows)


@EACH
def test_files_of_one_sample_are_right(name, foreign, tmp_path):
    module, example = foreign[name]
    result = dcd_deploy.export_module(module, example, to="onnx,tflite", out=tmp_path, name="m")
    inputs = unseen(example, 3)
    wanted = answers(module, inputs)
    assert [file.artifact.format for file in result.files] == ["onnx", "tflite"]
    for file in result.files:
        assert {path.partition("#")[0] for path in file.built.lowering} == DYNAMIC_LAYERS[name]
        model = open_model(file.artifact.path, threads=1)
        assert [output.name for output in model.card.outputs] == list(wanted)
        for i in range(3):
            assert_right(model.session.run_all([values[i : i + 1] for values in inputs]), wanted, slice(i, i + 1))


class MixedNetwork(nn.Module):
    """Dynamic convolutions of another kind: dense, grouped and depthwise, with and without biases."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.grouped = MixedKernels(16, 24, 3, stride=2, groups=4)
        self.grouped_norm = nn.BatchNorm2d(24)
        self.depthwise = MixedKernels(24, 24, 3, groups=24, bias=False)
        self.point = MixedKernels(24, 12, 1, padding=0)
        self.point_norm = nn.BatchNorm2d(12)
        self.head = nn.Linear(12, 6)

    def forward(self, x):
        y = torch.relu(self.norm(self.stem(x)))
        y = torch.relu(self.grouped_norm(self.grouped(y)))
        y = nn.functional.hardswish(self.depthwise(y)) + y
        return self.head(torch.relu(self.point_norm(self.point(y))).mean((2, 3)))


@pytest.fixture(scope="session")
def mixed():
    torch.manual_seed(3)
    example = torch.randn(1, 3, 40, 36)
    return calibrated(MixedNetwork(), example), (example,)


@pytest.mark.parametrize(("to", "batch"), [("onnx", 1), ("onnx", "dynamic"), ("tflite", 1)])
def test_mixtures_of_kernels_dense_grouped_and_depthwise(to, batch, mixed, tmp_path):
    module, example = mixed
    result = dcd_deploy.export_module(module, example, to=to, batch=batch, out=tmp_path)
    assert set(result.built.lowering) == {"grouped", "depthwise", "point"}
    model = open_model(result.artifact.path, threads=1)
    inputs = unseen(example, 2)
    wanted = answers(module, inputs)
    assert_right(model.session.run_all([inputs[0][:1]]), wanted, slice(0, 1))


@pytest.mark.exhaustive
def test_timm_condconv_networks_as_they_are(tmp_path):
    from timm_networks import network

    module = network("tf_efficientnet_cc_b0_4e")
    example = torch.randn(1, 3, 64, 64)
    result = dcd_deploy.export_module(module, example, to="onnx,tflite", out=tmp_path)
    torch.manual_seed(7)
    inputs = (pictures(64)[:1].numpy(),)  # noise makes a network of random weights explode
    wanted = answers(module, inputs)
    assert [file.artifact.format for file in result.files] == ["onnx", "tflite"]
    for file in result.files:
        assert len(file.built.lowering) == 24
        assert_right(open_model(file.artifact.path, threads=1).session.run_all(inputs), wanted)


@pytest.mark.exhaustive
def test_the_larger_timm_network_too(tmp_path):
    from timm_networks import network

    module = network("tf_efficientnet_cc_b1_8e")
    result = dcd_deploy.export_module(module, torch.randn(1, 3, 64, 64), out=tmp_path)
    assert len(result.built.lowering) == 33
    assert result.built.report.passed


def test_a_module_without_dynamic_layers_is_exported_and_that_is_said(foreign, tmp_path):
    module, example = foreign["plain"]
    result = dcd_deploy.export_module(module, example, out=tmp_path)
    assert result.built.lowering == {}
    assert any("no dynamic layer" in note for note in result.built.notes)


class Louder(ResNetDynamicConv):
    """It holds the parts of the published layer, and computes something else."""

    def forward(self, x):
        return super().forward(x) * (1 + x.mean((1, 2, 3), keepdim=True))


def test_a_layer_that_only_looks_dynamic_is_exported_as_it_is_and_named(foreign, tmp_path):
    module, example = NETWORKS["grey"]()
    module.read_twice.__class__ = Louder
    result = dcd_deploy.export_module(module, example, out=tmp_path)
    assert set(result.built.lowering) == {"left.layer"}
    assert any("'read_twice'" in note and "ordinary operators" in note for note in result.built.notes)
    assert result.built.report.passed


def test_the_twin_stands_beside_it(foreign, tmp_path):
    module, example = foreign["segmenter"]
    result = dcd_deploy.export_module(module, example, out=tmp_path, name="net", with_baseline=True)
    twin = open_model(result.baseline, threads=1)
    assert twin.card.lowering == {}
    assert [output.name for output in twin.card.outputs] == ["mask", "edges"]
    assert result.artifact.facts["macs"]["static_twin"] < result.artifact.facts["macs"]["released_form"]


def test_recorded_answers_join_the_gate(foreign, tmp_path):
    module, example = foreign["grey"]
    inputs = torch.randn(4, 1, 45, 61)
    pairs = dcd_deploy.record_reference(module, inputs, tmp_path / "pairs.npz")
    result = dcd_deploy.export_module(module, example, out=tmp_path, reference=pairs)
    assert any("recorded" in one.against for one in result.built.report.comparisons)
    with torch.no_grad():
        other = NETWORKS["grey"]()[0]
        other.stem.norm.eps = 1e-2
    with pytest.raises(VerificationError, match="recorded"):
        dcd_deploy.export_module(other, example, out=tmp_path / "none", reference=pairs)
    assert not list((tmp_path / "none").glob("*.onnx"))


def test_bad_settings_are_refused(foreign, tmp_path):
    module, example = foreign["grey"]
    with pytest.raises(OptionError, match="three channels"):
        dcd_deploy.export_module(module, example, out=tmp_path, mean=[0.5, 0.5, 0.5])
    with pytest.raises(OptionError, match="grey levels of 0 to 255; divide them by 255"):
        dcd_deploy.export_module(*foreign["segmenter"], out=tmp_path, std=[58.395, 57.12, 57.375])
    with pytest.raises(CaptureError, match="leaf"):
        dcd_deploy.export_module(module, example, out=tmp_path, leaf=("nowhere",))
    with pytest.raises(CaptureError, match="check the example"):
        dcd_deploy.export_module(module, torch.randn(1, 3, 45, 61), out=tmp_path)
    assert not list(tmp_path.iterdir())


def assert_the_report_says(result, *words):
    """What was left as it is, and commands that serve for a network of one's own."""
    screen = Console(file=io.StringIO(), width=200)
    show_export(screen, result, {"checkpoint": "w.pt", "network": "net.py:make", "network_args": '{"a": 1}'})
    said = screen.file.getvalue()
    assert all(word in said for word in words), said
    assert "dcd-deploy bench" not in said  # there is no twin


@pytest.mark.parametrize("to", ["onnx", "tflite"])
def test_a_norm_with_no_layer_before_it_stays_an_operator(to, tmp_path):
    example = torch.randn(1, 3, 12, 12)
    module = calibrated(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)), example)
    result = dcd_deploy.export_module(module, example, to=to, out=tmp_path)
    assert_the_report_says(
        result, "note: fold norms: '1'", "--checkpoint w.pt --network net.py:make --network-args '{\"a\": 1}'"
    )
    inputs = unseen((example,), 1)
    assert_right(open_model(result.artifact.path).session.run_all(inputs), answers(module, inputs))
