"""A file verified at any later time, against any checkpoint, and what limits and reports say then."""

import json
import math

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from dcd_deploy import commands
from dcd_deploy.artifacts import METADATA_KEY, Preprocessing
from dcd_deploy.errors import VerificationError
from dcd_deploy.export import reference as reference_module
from dcd_deploy.export.reference import CONTRASTS, generated_reference, make_reference, runner
from dcd_deploy.export.verify import FLOAT32_TOLERANCE, Comparison, VerificationReport, compare
from dcd_deploy.models.random_weights import calibrated_network, save_checkpoint
from dcd_deploy.models.registry import build
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.samples import verification_inputs


def test_verify_later(tmp_path, digits_export, digits_checkpoint):
    report = commands.verify(digits_export.artifact.path, checkpoint=digits_checkpoint)
    assert report.passed
    model = onnx.load(digits_export.artifact.path)
    tensor = next(t for t in model.graph.initializer if t.name.endswith("attention.phi.weight"))
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.01), tensor.name))
    onnx.save(model, tmp_path / "changed.onnx")
    with pytest.raises(VerificationError, match="model file, inputs one by one"):
        commands.verify(tmp_path / "changed.onnx", checkpoint=digits_checkpoint)
    with pytest.raises(VerificationError, match="does not compute what was trained"):
        commands.verify(tmp_path / "changed.onnx")


def test_verify_against_another_checkpoint(tmp_path, digits_export, digits_checkpoint):
    content = torch.load(digits_checkpoint, weights_only=True)
    content["state_dict"]["module.classifier.1.cls.bias"][3] += 0.1
    torch.save(content, tmp_path / "other.pth.tar")
    with pytest.raises(VerificationError, match="made from another checkpoint"):
        commands.verify(digits_export.artifact.path, checkpoint=tmp_path / "other.pth.tar")


def test_the_smallest_tolerance_that_would_pass(small_network):
    reference = make_reference(small_network, verification_inputs(Preprocessing.for_size(32, 32)))
    off = lambda inputs: [runner(small_network)(inputs)[0] + 1.234e-3 * reference.range()]  # noqa: E731
    tight, _ = compare("planted", off, reference, 1e-3)
    assert tight.smallest_tolerance == pytest.approx(1.3e-3)
    loose, _ = compare("planted", off, reference, tight.smallest_tolerance)
    assert (tight.passed, loose.passed) == (False, True)


def test_checkpoint_of_another_class_count(tmp_path, digits_export):
    network = calibrated_network(NetworkSpec("mobilenetv2_dcd", 7, 0.25, 8))
    path = save_checkpoint(tmp_path / "seven.pth.tar", network)
    with pytest.raises(VerificationError, match="the checkpoint has 7 classes, the model 10"):
        commands.verify(digits_export.artifact.path, checkpoint=path)


def test_a_contrast_without_numbers_is_not_the_best(monkeypatch, small_network):
    errors = iter((math.nan, 0.5, 0.1))
    monkeypatch.setattr(reference_module, "_float32_error", lambda *a, **k: next(errors))
    reference = generated_reference(small_network, Preprocessing.for_size(32, 32), FLOAT32_TOLERANCE)
    assert (reference.contrast, reference.float32_error) == (CONTRASTS[2], 0.1)


def test_a_file_cannot_choose_its_own_tolerance(tmp_path, digits_export, digits_checkpoint):
    model = onnx.load(digits_export.files[0].artifact.path)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    card = json.loads(properties[METADATA_KEY])
    card["reference"]["tolerance"] = 0.04
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(card)})
    tensor = next(t for t in model.graph.initializer if t.name.endswith("attention.phi.weight"))
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.01), tensor.name))
    path = tmp_path / "lax.onnx"
    onnx.save(model, path)
    with pytest.raises(VerificationError, match=r"within 5.0e-05.*itself states a tolerance of 4.0e-02"):
        commands.verify(path)
    with pytest.raises(VerificationError, match="within 5.0e-05"):
        commands.verify(path, checkpoint=digits_checkpoint)
    assert commands.verify(path, tolerance=0.04).passed
    assert commands.verify(path, checkpoint=digits_checkpoint, tolerance=0.04).passed


def test_another_checkpoint_is_said_first_and_an_averaged_copy_named(tmp_path, digits_export, digits_checkpoint):
    content = torch.load(digits_checkpoint, weights_only=True)
    content["ema"] = dict(content["state_dict"])
    content["state_dict"] = {key: value * 1.5 for key, value in content["state_dict"].items()}
    torch.save(content, tmp_path / "both.pth.tar")
    path = digits_export.files[0].artifact.path
    with pytest.raises(VerificationError, match=r"^the model was made from another checkpoint .*try `ema`$"):
        commands.verify(path, checkpoint=tmp_path / "both.pth.tar")
    assert commands.verify(path, checkpoint=tmp_path / "both.pth.tar", ema=True).passed


def test_only_a_restless_network_is_called_so():
    report = VerificationReport("pictures", 4, {"logits": 1.0}, 1e-7, None)
    tight = Comparison("stage", "one by one", 1e-6, 1e-6, 1.0, 1.0, 1e-12)
    with pytest.raises(VerificationError) as caught:
        report.with_comparisons(tight)
    assert "amplifies rounding" not in str(caught.value)
    with pytest.raises(VerificationError, match="amplifies rounding"):
        VerificationReport("pictures", 4, {"logits": 1.0}, 1e-4, None).with_comparisons(tight)


@pytest.mark.exhaustive
def test_a_network_as_initialised_exports_and_the_report_says_that_this_proves_little(tmp_path):
    """A user's first try. One norm that has seen a batch, and the inputs are to blame again."""
    spec = NetworkSpec("mobilenetv2_dcd", 10, width_mult=0.25, fc_squeeze=8)
    torch.manual_seed(0)
    network = build(spec)
    torch.save(network.state_dict(), tmp_path / "fresh.pt")
    result = commands.export(tmp_path / "fresh.pt", input_size=32, out=tmp_path)
    (note,) = result.built.report.notes
    assert note.startswith("a network as initialised: no norm has seen a batch, and freezing λ moves the outputs by")
    assert "proves little" in note
    again = commands.verify(result.artifact.path, checkpoint=tmp_path / "fresh.pt")
    assert again.notes == (note,)
    norm = next(module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d))
    norm.running_mean += 1e-3
    torch.save(network.state_dict(), tmp_path / "trained.pt")
    with pytest.raises(VerificationError, match="do not exercise λ"):
        commands.export(tmp_path / "trained.pt", input_size=32, out=tmp_path / "none")
    assert not (tmp_path / "none").exists()
