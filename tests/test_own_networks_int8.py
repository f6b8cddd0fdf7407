"""Networks of one's own that compute in int8 and float16: mixtures of kernels, two outputs, two inputs, refusals."""

import numpy as np
import pytest
import timm_networks
import torch
from foreign_networks import NETWORKS, calibrated
from mixing_networks import Bottleneck
from torch import nn

import dcd_deploy
from dcd_deploy.errors import InputFileError, OptionError, VerificationError
from dcd_deploy.export.noise import snr_db
from dcd_deploy.export.tflite.file import TfliteModel, text_of
from dcd_deploy.export.tflite.quantised.build import prepared, rewritten
from dcd_deploy.export.tflite.quantised.numbers import check_numbers
from dcd_deploy.export.tflite.quantised.ranges import channels_last, measured
from dcd_deploy.export.tflite.quantised.roles import KERNELS, in_int8, layer_of, part_of
from dcd_deploy.runtimes import open_model

MIXTURES = {"block.expand", "block.filter", "block.project"}


class TwoHeads(nn.Module):
    """CondConv, squeeze-excitation and hard-swish, and two outputs under names of their own."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.Hardswish())
        self.block = Bottleneck(16, 24, 2)
        self.head = nn.Linear(24, 6)

    def forward(self, x):
        features = self.block(self.stem(x))
        return {"features": features, "logits": self.head(features.mean((2, 3)))}


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(1)
    return calibrated(TwoHeads(), torch.randn(1, 3, 32, 32))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(160, 3, 32, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def calibration(images, tmp_path_factory):
    np.savez(path := tmp_path_factory.mktemp("calibration") / "images.npz", images=images[:128])
    return path


@pytest.fixture(scope="module")
def files(module, calibration, tmp_path_factory):
    """By format."""
    out, settings = tmp_path_factory.mktemp("own"), {"precision": "int8", "calibrate": calibration}
    made = dcd_deploy.export_module(module, torch.randn(1, 3, 32, 32), to="onnx,tflite", out=out, **settings)
    return {file.artifact.format: file for file in made.files}


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_condconv_and_two_outputs_in_int8(format, files, module, images):
    """On images that no range is from."""
    model = open_model(files[format].artifact.path)
    assert set(files[format].built.lowering) == MIXTURES
    assert model.card.precision.format == "int8"
    found = [np.concatenate(v) for v in zip(*(model.run_all(images[i : i + 1]) for i in range(128, 160)), strict=True)]
    with torch.no_grad():
        right = module(torch.from_numpy(images[128:]))
    for name, values in zip(right, found, strict=True):
        assert 20 <= snr_db(values, right[name].numpy().astype(np.float64)) <= 60


@pytest.mark.exhaustive
def test_timms_condconv_in_int8(tmp_path):
    """One block, of random weights, on digits; three, trained on them, keep 32 dB and more (docs/quantisation.md)."""
    import digits

    images = digits.normalised(digits.load()[0][:160])
    np.savez(calibration := tmp_path / "digits.npz", images=images[:128])
    torch.manual_seed(0)
    module = calibrated(timm_networks.condconv_blocks(blocks=1), torch.from_numpy(images[:64]))
    settings = {"to": "onnx,tflite", "precision": "int8", "calibrate": calibration, "out": tmp_path}
    made = dcd_deploy.export_module(module, torch.randn(1, 3, 32, 32), **settings)
    with torch.no_grad():
        right = module(torch.from_numpy(images[128:])).numpy().astype(np.float64)
    for file in made.files:
        assert len(file.built.lowering) == 3
        model = open_model(file.artifact.path)
        found = np.concatenate([model.run(images[i : i + 1]) for i in range(128, 160)])
        assert 20 <= snr_db(found, right) <= 60


def test_attention_stays_in_float32_where_a_lowering_computes_in_anothers_place(module, tmp_path):
    """A 1×1 CondConv has no kernel in homogeneous coordinates: the plain one is computed, within that lowering."""
    settings = {"to": "tflite", "target": "litert", "lowering": "homogeneous", "out": tmp_path}
    made = dcd_deploy.export_module(module, torch.randn(1, 3, 32, 32), **settings)
    model = prepared(made.artifact.path.read_bytes())
    parts = {part_of(model, each) for each in model.graph.operators if layer_of(model, each) == "block.expand"}
    assert {"attention", "kernel", "applied"} <= parts
    chosen = [model.graph.operators[place] for place in in_int8(model)]
    weighted = {part_of(model, each) for each in chosen if model.operator_name(each) in KERNELS}
    assert weighted == {"static"}


def test_a_constant_that_is_added_to_a_map_is_checked(module, images, tmp_path):
    """The bias of a mixture has a zero point of its own; off by two, or its scale doubled, it is found."""
    made = dcd_deploy.export_module(module, torch.randn(1, 3, 32, 32), to="tflite", out=tmp_path, lowering="branch")
    model = prepared(made.artifact.path.read_bytes())
    chosen, ranges = in_int8(model), measured(model, (channels_last(images[:8]),))
    content = rewritten(model, chosen, ranges)
    check_numbers(model, chosen, ranges, TfliteModel.from_bytes(content))
    for fault in ("zero point", "scale"):
        planted = TfliteModel.from_bytes(content)
        place = next(each for each in planted.graph.operators if _name(planted, each) == "block.filter/dynamic/add")
        bias = planted.graph.tensors[place.inputs[1]].quantization
        assert bias.zeroPoint[0] != 0
        if fault == "scale":
            bias.scale = 2 * np.asarray(bias.scale)
        else:
            bias.zeroPoint = np.asarray(bias.zeroPoint) + 2
        with pytest.raises(VerificationError, match=r"of 'block\.filter/dynamic/add' is not what"):
            check_numbers(model, chosen, ranges, planted)


def _name(model, operator):
    return text_of(model.graph.tensors[operator.outputs[0]].name)


def test_half_precision_with_two_inputs(tmp_path):
    module, example = NETWORKS["two inputs"]()
    made = dcd_deploy.export_module(module, example, precision="float16", out=tmp_path)
    assert made.artifact.card.precision.format == "float16"
    assert made.built.largest < 65504


def test_what_int8_cannot_take(module, calibration, tmp_path):
    two, examples = NETWORKS["two inputs"]()
    refused = [
        (two, examples, {"calibrate": calibration}, OptionError, "one input .* choose `weights` int8"),
        (module, torch.randn(1, 3, 32, 32), {}, OptionError, "`precision` int8 and `calibrate`, together"),
        (module, torch.randn(1, 3, 24, 24), {"calibrate": calibration}, OptionError, r"\(N, 3, 24, 24\)"),
        (module, torch.randn(1, 3, 32, 32), {"calibrate": tmp_path / "none"}, InputFileError, "nothing there"),
    ]
    for network, example, settings, error, words in refused:
        with pytest.raises(error, match=words):
            dcd_deploy.export_module(network, example, precision="int8", out=tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()
