"""Files that compute in int8: what they keep of the outputs, and what is refused."""

import json
from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from conftest import DIGITS_OPTIONS

from dcd_deploy import commands
from dcd_deploy.commands.network import trained_network
from dcd_deploy.errors import InputFileError, OptionError, UnknownNameError, VerificationError
from dcd_deploy.export.calibration import read_calibration
from dcd_deploy.export.noise import snr_db
from dcd_deploy.lowering.targets import target_for
from dcd_deploy.runtimes import open_model
from dcd_deploy.samples import InputSpec
from dcd_deploy.tuning.layer_case import groups_of
from dcd_deploy.tuning.layer_model import LAYER, write_layer_model
from dcd_deploy.tuning.lowering_file import TunedLowering, write_lowering


def test_int8_keeps_signal_and_accuracy(digits_int8, onnx_file, held_out):
    import digits

    images, labels = digits.normalised(held_out[0]), held_out[1]
    float32, int8 = (open_model(path) for path in (onnx_file, digits_int8.artifact.path))
    wanted, found = (np.concatenate([m.run(images[i : i + 1]) for i in range(len(images))]) for m in (float32, int8))
    assert snr_db(found, wanted.astype(np.float64)) >= 27  # weights of 7 bits: any x86
    assert (found.argmax(1) == labels).mean() >= (wanted.argmax(1) == labels).mean() - 0.003


def test_description_says_how_int8_was_made(digits_int8):
    precision, sidecar = digits_int8.artifact.card.precision, json.loads(digits_int8.artifact.sidecar())
    assert (precision.format, precision.images, precision.bits) == ("int8", 256, 7)
    assert precision.snr_db >= 27
    assert precision.top1 == precision.float_top1 == 1.0
    assert sidecar["calibration"]["source"] == "digits.npz"
    assert len(set(sidecar["calibration"]["sha256"])) == sidecar["calibration"]["images"] == 256
    assert open_model(digits_int8.artifact.path).card == digits_int8.artifact.card


def test_twin_is_in_int8_too(digits_int8):
    assert open_model(digits_int8.baseline).described().precision.format == "int8"
    kinds = {node.op_type for node in onnx.load(digits_int8.baseline).graph.node}
    assert "QLinearConv" in kinds
    assert "Conv" not in kinds


def test_every_int8_file_verifies(digits_int8, digits_checkpoint):
    path = digits_int8.artifact.path
    assert commands.verify(path).passed
    assert commands.verify(path, checkpoint=digits_checkpoint).passed


def test_a_file_of_another_checkpoint_does_not_verify(digits_int8, digits_checkpoint, tmp_path):
    content = torch.load(digits_checkpoint, weights_only=True)
    name = next(name for name in content["state_dict"] if name.endswith("features.0.0.weight"))
    content["state_dict"][name] = -content["state_dict"][name]
    torch.save(content, tmp_path / "other.pth.tar")
    with pytest.raises(VerificationError, match=r"another checkpoint .* at least 6 dB .* found -?\d"):
        commands.verify(digits_int8.artifact.path, checkpoint=tmp_path / "other.pth.tar")


DIGIT = InputSpec("input", (3, 32, 32))


def some_digits(path, images, labels=None):
    np.savez(path, images=images, **({} if labels is None else {"labels": labels}))
    return path


def test_calibration_that_is_none_is_refused(training, tmp_path):
    images, labels = training
    broken = images.copy()
    broken[3, 0, 0, 0] = np.nan
    wrong = {
        "few": (InputFileError, "at least 128", images[:100]),
        "nan": (InputFileError, "NaN", broken),
        "size": (OptionError, "(N, 3, 32, 32)", np.tile(images, (1, 1, 2, 2))),
    }
    for name, (kind, words, values) in wrong.items():
        with pytest.raises(kind, match="(?s).*") as caught:
            read_calibration(some_digits(tmp_path / f"{name}.npz", values), (DIGIT,), None)
        assert words in str(caught.value)
    one_class = np.resize(images[labels == 3], images[:128].shape)
    with pytest.raises(InputFileError, match="several classes"):
        read_calibration(some_digits(tmp_path / "one.npz", one_class, np.full(128, 3)), (DIGIT,), None)
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    for name in ("bad.npz", "missing.npz", "."):
        with pytest.raises(InputFileError):
            read_calibration(tmp_path / name, (DIGIT,), None)


@pytest.mark.exhaustive
def test_export_leaves_nothing_where_calibration_is_none(training, digits_checkpoint, tmp_path):
    """Without labels, one class is told by what the network takes the images for."""
    images, labels = training
    one_class = np.resize(images[labels == 3], images[:128].shape)
    for values, words in ((images[:100], "at least 128"), (one_class, "several classes")):
        with pytest.raises(InputFileError, match=words):
            _export(digits_checkpoint, tmp_path, some_digits(tmp_path / "images.npz", values))
    assert not (tmp_path / "out").exists()


def _export(checkpoint, tmp_path, calibrate, **options):
    commands.export(
        checkpoint, out=tmp_path / "out", precision="int8", calibrate=calibrate, **options, **DIGITS_OPTIONS
    )


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"precision": "int4", "calibrate": "x"}, UnknownNameError, "int4"),
        ({"precision": "int8"}, OptionError, "calibrate"),
        ({"calibrate": "x"}, OptionError, "precision"),
        ({"keep_float": ["a"]}, OptionError, "keep_float"),
        ({"precision": "int8", "calibrate": "x", "weights": "float16"}, OptionError, "weights"),
        ({"precision": "int8", "calibrate": "x", "batch": 2}, OptionError, "batch"),
        ({"precision": "int8", "calibrate": "x", "to": "ort"}, OptionError, "ort"),
        ({"precision": "int8", "calibrate": "x", "budget": -1.0}, OptionError, "budget"),
    ],
)
def test_options_that_do_not_go_together(options, kind, words, digits_checkpoint, tmp_path):
    with pytest.raises(kind, match=words):
        commands.export(digits_checkpoint, out=tmp_path / "out", **options, **DIGITS_OPTIONS)
    assert not (tmp_path / "out").exists()


def test_a_twin_made_from_the_file_alone_computes_in_int8_too(digits_int8, tmp_path):
    """What ``bench`` makes where there is no twin beside the file: ranges are from generated pictures."""
    from dcd_deploy.export.twin import export_twin

    made = open_model(export_twin(open_model(digits_int8.artifact.path).card, tmp_path / "twin.onnx"))
    assert made.card.precision.format == "int8"
    operators = {node.op_type for node in onnx.load(tmp_path / "twin.onnx").graph.node}
    assert "QLinearConv" in operators


@pytest.mark.exhaustive
def test_a_lowering_that_was_tuned_in_int8_decides(digits_checkpoint, digits_int8, calibration, tmp_path):
    """And what ``tune`` timed is in the file: the operators of a layer are those of its case, in both orders."""
    captured = trained_network(digits_checkpoint, input_size=32).captured()
    first, *others = groups_of(captured)
    layers = dict.fromkeys(first.layers, "kernel") | {path: "factored" for g in others for path in g.layers}
    title = ("mobilenetv2_dcd ×0.25, fc_squeeze 8", ((3, 32, 32),))
    where = ("onnxruntime", "1", "ssh://pi@board", "cpu", 1)
    file = tmp_path / "tuned.json"
    write_lowering(file, TunedLowering("onnxruntime-x86", "onnx", *title, *where, layers, "int8"))
    options = DIGITS_OPTIONS | {"precision": "int8", "calibrate": calibration, "lowering": file}
    made = commands.export(digits_checkpoint, out=tmp_path / "out", **options).artifact
    assert {path: made.card.lowering[path] for path in layers} == layers
    assert layers != {path: digits_int8.artifact.card.lowering[path] for path in layers}, "the rule says otherwise"
    assert made.card.precision.snr_db >= 20
    target, exported = target_for("onnxruntime-x86", "onnx", "int8"), onnx.load(made.path)
    for group in (first, others[0]):
        path = group.layers[-1]
        write_layer_model(group, layers[path], target, file := tmp_path / "layer.onnx")
        assert operators(onnx.load(file), LAYER) == operators(exported, path)


def operators(model, layer):
    """Count a layer's nodes, but for the sum behind it, and conversions, which on its borders may be a neighbour's."""
    places = {node.name: node.op_type for node in model.graph.node if node.name.startswith(f"{layer}/")}
    kinds = Counter(kind for name, kind in places.items() if not name.startswith(f"{layer}/residual/"))
    return kinds - Counter(DequantizeLinear=99, QuantizeLinear=99)
