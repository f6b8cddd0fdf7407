"""Layers and channels that training or pruning has silenced, whose biases alone are left, are right in int8."""

import numpy as np
import onnx
import pytest
import torch
from conftest import DIGITS_OPTIONS

from dcd_deploy import commands
from dcd_deploy.errors import VerificationError
from dcd_deploy.export.noise import MOST_DB, snr_db
from dcd_deploy.export.onnx.int8 import OnnxQuantiser
from dcd_deploy.export.onnx.quantised import numbers
from dcd_deploy.export.onnx.quantised.build import calibrated
from dcd_deploy.export.onnx.quantised.exact import exact_session
from dcd_deploy.export.onnx.quantised.layer_noise import check_layer_noise
from dcd_deploy.export.onnx.quantised.roles import sites
from dcd_deploy.export.tflite.quantised import build, ranges
from dcd_deploy.export.tflite.quantised.build import TfliteQuantiser
from dcd_deploy.runtimes.litert import LiteRtSession

ALL = slice(None)
SILENCED = {  # the norms behind them: which channels, and what is left of these
    "module.features.3.conv.4": (ALL, -1.0),  # a depthwise layer: behind its ReLU6 a map of zeros
    "module.features.5.conv.1": (slice(4), 0.7),  # a dynamic layer
    "module.features.6.conv.4": (slice(4), 0.7),  # a static one
}
LEAST_DB = 25.0


@pytest.fixture(scope="module")
def files(digits_checkpoint, tmp_path_factory):
    """The bundled network, so silenced, in float32: the paths of its ONNX and its TFLite file."""
    content, folder = torch.load(digits_checkpoint, weights_only=True), tmp_path_factory.mktemp("silent")
    for norm, (channels, bias) in SILENCED.items():
        content["state_dict"][f"{norm}.weight"][channels] = 0
        content["state_dict"][f"{norm}.bias"][channels] = bias
    torch.save(content, folder / "silent.pth.tar")
    made = commands.export(folder / "silent.pth.tar", to="onnx,tflite", out=folder, **DIGITS_OPTIONS)
    return [file.artifact.path for file in made.files]


@pytest.fixture
def images(training):
    return training[0][:128]


def left(run, right, images):
    """Return the decibels of one session's answers beside another's."""
    return snr_db(*(np.concatenate([one(image[None]) for image in images]) for one in (run, right)))


def of_onnx(path, images):
    """Return the graph in int8, checked layer by layer, and what is left of its outputs."""
    model = onnx.load(path)
    found = sites(model.graph)
    quantiser = OnnxQuantiser(model, found, calibrated(model, found, (images,)), 8, images)
    made = quantiser.graph(())
    check_layer_noise(quantiser.noise(made, ()))
    return left(*(exact_session(each, 1).run for each in (made, model)), images)


def of_tflite(path, images):
    as_fed = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    made = TfliteQuantiser.of(path.read_bytes(), as_fed).quantised()
    return left(*(LiteRtSession(each).run for each in (made, path.read_bytes())), images)


def test_biases_are_kept_in_onnx(files, images, monkeypatch):
    assert of_onnx(files[0], images) > LEAST_DB
    monkeypatch.setattr(numbers, "SILENT", 2.0**-60)
    with pytest.raises(VerificationError, match="by itself"):
        of_onnx(files[0], images)


def test_biases_are_kept_in_tflite(files, images, monkeypatch):
    assert of_tflite(files[1], images) > LEAST_DB
    monkeypatch.setattr(build, "hold_biases", lambda model, made: None)
    with pytest.raises(VerificationError, match="scale, zero point or weight"):
        of_tflite(files[1], images)


def test_maps_of_zeros_have_steps_in_tflite(files, images, monkeypatch):
    monkeypatch.setattr(ranges, "SILENT", 0.0)
    with pytest.raises(VerificationError, match=r"features\.3"):
        of_tflite(files[1], images)


def test_what_has_no_signal_has_no_noise():
    zeros = np.zeros((2, 3))
    assert snr_db(zeros, zeros) == MOST_DB
    assert snr_db(zeros + 1e-9, zeros) < 0
