"""``--input uint8``: the bundled network takes raw bytes, with its normalisation in the first convolution."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from apps import made, rehashed
from command_line import run_here
from conftest import DIGITS, DIGITS_OPTIONS
from torch import nn

from dcd_deploy import commands
from dcd_deploy.artifacts import Preprocessing, TensorSpec
from dcd_deploy.errors import InputFileError, OptionError, UnknownNameError, VerificationError
from dcd_deploy.lowering.raw_bytes import NOT_FOLDED
from dcd_deploy.runtimes import open_model
from dcd_deploy.runtimes.pictures import read_picture
from dcd_deploy.samples import InputSpec, generated_inputs, raw_pictures, verification_inputs

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="session", params=["onnx", "tflite"])
def bytes_export(request, tmp_path_factory):
    return commands.export(
        DIGITS / "dcd.pth.tar",
        to=request.param,
        out=tmp_path_factory.mktemp("bytes"),
        name="digits",
        input_="uint8",
        with_baseline=True,
        labels=DIGITS / "labels.txt",
        **DIGITS_OPTIONS,
    )


def test_the_pictures_are_those_of_every_check_in_whole_bytes():
    settings = Preprocessing.for_size(32, 40)
    (given,) = generated_inputs([InputSpec("input", (3, 32, 40), dtype="uint8")], settings, 3, 0.5)
    assert given.dtype == np.uint8
    assert given.shape == (3, 3, 32, 40)
    mean, std = (np.array(values)[:, None, None] for values in (MEAN, STD))
    normalised = (given / 255.0 - mean) / std
    assert np.abs(normalised - verification_inputs(settings, 3, 0.5)).max() <= 0.5 / 255 / min(STD) + 1e-6


def test_the_description_says_so(bytes_export):
    card = bytes_export.artifact.card
    shape = {"onnx": (1, 3, 32, 32), "tflite": (1, 32, 32, 3)}[bytes_export.artifact.format]
    assert card.inputs == (TensorSpec("input", shape, "uint8", card.input.layout),)
    assert open_model(bytes_export.artifact.path).session.inputs[0].dtype == "uint8"
    assert bytes_export.built.report.passed
    assert NOT_FOLDED not in bytes_export.built.notes


def test_it_answers_as_the_file_that_takes_normalised_pictures(bytes_export, digits_export, held_out):
    usual, model = (open_model(one.artifact.path) for one in (digits_export, bytes_export))
    images, _ = held_out
    inputs = [np.concatenate([one.preprocess(image) for image in images[:40]]) for one in (usual, model)]
    assert inputs[1].dtype == np.uint8
    answers = [one.run(given) for one, given in zip((usual, model), inputs, strict=True)]
    assert np.abs(answers[0] - answers[1]).max() <= 2 * 5e-5 * np.ptp(answers[0])
    (best,) = model.predict(read_picture(DIGITS / "seven.png"), top=1)
    assert best.label == "seven"


def test_normalised_values_are_refused(bytes_export):
    with pytest.raises(OptionError, match=r"raw bytes 0\.\.255.*found float32"):
        open_model(bytes_export.artifact.path).run(np.zeros((1, 3, 32, 32), np.float32))


def test_verify_and_self_check_feed_bytes(bytes_export):
    report = commands.verify(bytes_export.artifact.path, checkpoint=DIGITS / "dcd.pth.tar", input_size=32)
    assert report.passed
    assert commands.verify(bytes_export.artifact.path).passed


def test_bench_and_inspect_take_it(bytes_export):
    done = run_here("inspect", bytes_export.artifact.path)
    assert "uint8" in done.stdout
    assert "bytes, normalised within" in done.stdout
    options = ("--min-runs", "5", "--min-seconds", "0.05", "--rounds", "1", "--no-memory")
    done = run_here("bench", bytes_export.artifact.path, *options)
    assert done.returncode == 0, done.stderr
    assert "static" in done.stdout


def test_another_mean_is_another_network(bytes_export, tmp_path):
    """The comparison with the float64 network finds a border that is off: each padded pixel is a fault of its own."""
    if bytes_export.artifact.format != "onnx":
        pytest.skip("the weights of an ONNX file are changed here")
    model = onnx.load(bytes_export.artifact.path)
    (offset,) = (one for one in model.graph.initializer if one.name == "picture_offset")
    values = onnx.numpy_helper.to_array(offset) + 0.5
    offset.CopyFrom(onnx.numpy_helper.from_array(values, offset.name))
    onnx.save(model, tmp_path / "off.onnx")
    with pytest.raises(VerificationError):
        commands.verify(tmp_path / "off.onnx")


@pytest.mark.parametrize(
    "options",
    [
        {"batch": "dynamic", "opset": 11, "weights": "int8"},
        {"target": "onnxruntime-x86", "batch": 2},
        {"to": "tflite", "layout": "nchw", "batch": 2},
        {"to": "tflite", "target": "litert-compiled", "weights": "int8"},
    ],
)
def test_with_other_options(tmp_path, small_checkpoint, options):
    made = commands.export(small_checkpoint, out=tmp_path, input_="uint8", input_size=32, **options)
    assert open_model(made.artifact.path).card.input_type == "uint8"
    assert commands.verify(made.artifact.path, checkpoint=small_checkpoint, input_size=32).passed


def test_samples_are_bytes(tmp_path, small_checkpoint):
    np.save(tmp_path / "bytes.npy", raw_pictures((3, 32, 32)))
    np.save(tmp_path / "floats.npy", raw_pictures((3, 32, 32)).astype(np.float32))
    options = {"out": tmp_path, "input_": "uint8", "input_size": 32}
    made = commands.export(small_checkpoint, samples=tmp_path / "bytes.npy", **options)
    assert made.built.report.inputs == "pictures of bytes.npy"
    with pytest.raises(InputFileError, match="raw bytes"):
        commands.export(small_checkpoint, samples=tmp_path / "floats.npy", **options)


def test_a_module_of_the_users(tmp_path):
    network, example = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(3, 4, 3, padding=1)), torch.randn(1, 3, 32, 32)
    made = commands.export_module(network, example, out=tmp_path, input_="uint8", mean=MEAN)
    assert NOT_FOLDED in made.built.notes
    with pytest.raises(OptionError, match="found a network without preprocessing"):
        commands.export_module(network, example, out=tmp_path, input_="uint8")


@pytest.mark.parametrize(("settings", "words"), [({}, "leave `input_` out"), ({"mean": MEAN}, "and `input_` uint8 wi")])
def test_bytes_are_for_three_channels_whatever_else_is_said(tmp_path, settings, words):
    """Neither refusal advises what the other refuses."""
    grey = nn.Conv2d(1, 4, 3)
    with pytest.raises(OptionError, match=rf"a picture of three channels.*\(1, 8, 8\).*{words}"):
        commands.export_module(grey, torch.randn(1, 1, 8, 8), out=tmp_path, input_="uint8", **settings)


def test_what_it_does_not_go_with(tmp_path):
    made = {"out": tmp_path, "input_": "uint8", **DIGITS_OPTIONS}
    (tmp_path / "recorded.npz").touch()
    with pytest.raises(OptionError, match="`reference`"):
        commands.export(DIGITS / "dcd.pth.tar", reference=tmp_path / "recorded.npz", **made)
    with pytest.raises(OptionError, match="were not tried"):
        commands.export(DIGITS / "dcd.pth.tar", for_="ncnn", **made)
    with pytest.raises(UnknownNameError, match="int16"):
        commands.export(DIGITS / "dcd.pth.tar", out=tmp_path, input_="int16", **DIGITS_OPTIONS)


def test_the_bundle_for_python(bytes_export, tmp_path):
    folder = made(bytes_export.artifact.path, "python", tmp_path / "app")
    assert (folder / "golden-input.bin").stat().st_size == 3 * 32 * 32
    for arguments, code, words in (
        ([DIGITS / "seven.png"], 0, "self-check passed"),
        ([], 1, "self-check failed: error"),
    ):
        done = subprocess.run(
            [sys.executable, str(folder / "predict.py"), *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert words in done.stdout + done.stderr
        if code == 0:
            assert "seven.png: seven" in done.stdout
            other = np.fromfile(folder / "golden-input.bin", np.uint8)[::-1].copy()
            other.tofile(folder / "golden-input.bin")
            manifest = json.loads((folder / "manifest.json").read_text()) | {"sha256": rehashed(folder)}
            (folder / "manifest.json").write_text(json.dumps(manifest))


def test_platforms_whose_sample_normalises_refuse_it(bytes_export, tmp_path):
    with pytest.raises(OptionError, match="as this platform's sample makes them, found one that takes raw bytes"):
        made(bytes_export.artifact.path, "android", tmp_path / "app")
