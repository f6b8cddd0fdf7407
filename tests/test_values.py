"""The commands as functions take the words of the command line, and refuse others by name."""

import numpy as np
import pytest

from dcd_deploy import commands
from dcd_deploy.commands.values import parse_batch, parse_count, parse_size, parse_tolerance, parse_triple
from dcd_deploy.errors import DcdDeployError, InputFileError, OptionError, UnknownNameError


@pytest.mark.parametrize("value", ["192x256", "192×256", (192, 256), [192, 256], (np.int64(192), 256)])
def test_sizes(value):
    assert parse_size(value) == (192, 256)
    assert parse_size("224") == parse_size(224) == (224, 224)


@pytest.mark.parametrize("value", ["big", "", None, 1.5, True, (192,), (1, 2, 3), ("192", "256"), "100000"])
def test_bad_sizes(value):
    with pytest.raises(OptionError) as refusal:
        parse_size(value)
    assert (refusal.value.parameters, refusal.value.found) == (("input_size",), repr(value))


def test_batches():
    assert [parse_batch(value) for value in ("dynamic", None, 3, "3", np.int32(3))] == [None, None, 3, 3, 3]
    for value in ("many", 0, -1, "0", 1.5, True, (1,)):
        with pytest.raises(OptionError) as refusal:
            parse_batch(value)
        assert refusal.value.parameters == ("batch",)


@pytest.mark.parametrize("value", ["0.5,.5,0.5", (0.5, 0.5, 0.5), [0.5] * 3, np.full(3, 0.5)])
def test_triples(value):
    assert parse_triple("mean", value) == (0.5, 0.5, 0.5)
    assert parse_triple("mean", None) is None


@pytest.mark.parametrize("value", ["0.5", "a,b,c", (1, 2), 0.5, "nan,0,0", [None] * 3, [float("inf"), 0, 0]])
def test_bad_triples(value):
    with pytest.raises(OptionError) as refusal:
        parse_triple("mean", value)
    assert (refusal.value.parameters, refusal.value.found) == (("mean",), repr(value))


def test_numbers():
    for value in (0, -1, 11, "3", 2.0, None, True):
        with pytest.raises(OptionError) as refusal:
            parse_count("top", value, 10)
        assert (refusal.value.parameters, refusal.value.found) == (("top",), repr(value))
    for value in (0, 1, -0.1, float("nan"), "1e-3", None):
        with pytest.raises(OptionError) as refusal:
            parse_tolerance(value)
        assert refusal.value.parameters == ("tolerance",)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"lowering": "foo"}, UnknownNameError, "foo"),
        ({"opset": 10}, OptionError, "opset"),
        ({"layout": "hwcn"}, UnknownNameError, "hwcn"),
        ({"samples": "none.npy"}, InputFileError, "there is no such file"),
        ({"labels": "none.txt"}, InputFileError, "there is no such file"),
        ({"labels": ()}, OptionError, "labels"),
        ({"arch": "resnet10-dcd"}, UnknownNameError, "resnet10-dcd"),
        ({"num_classes": 0}, OptionError, "num_classes"),
        ({"input_size": 99999}, OptionError, "input_size"),
        ({"input_size": "31"}, OptionError, "input_size"),
        ({"resize": 0}, OptionError, "resize"),
        ({"resize": 10**7}, OptionError, "resize"),
        ({"mean": 0.5}, OptionError, "mean"),
        ({"std": [1, 0, 1]}, OptionError, "std"),
        ({"batch": "many"}, OptionError, "batch"),
        ({"name": "../up"}, OptionError, "name"),
        ({"tolerance": "tight"}, OptionError, "tolerance"),
    ],
)
def test_a_bad_option_is_refused_before_the_checkpoint_is_read(monkeypatch, tmp_path, options, error, said):
    def read(*args, **kwargs):
        raise AssertionError("it was read")

    monkeypatch.setattr("dcd_deploy.models.checkpoint.read_checkpoint", read)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error) as refusal:
        commands.export("net.pth.tar", **{"input_size": 32} | options)
    assert said in (refusal.value.found, *refusal.value.parameters)


def test_tflite_refuses_a_free_batch_early(monkeypatch):
    monkeypatch.setattr("dcd_deploy.commands.arguments.require_packages", lambda format: None)
    with pytest.raises(OptionError) as refusal:
        commands.export("there is no such file", to="tflite", batch="dynamic", opset=14)
    assert (refusal.value.parameters, refusal.value.found) == (("batch",), "'dynamic'")


def test_words_of_the_command_line(tmp_path, small_checkpoint):
    mean, std = "0.5,0.5,0.5", np.full(3, 0.25)
    result = commands.export(
        small_checkpoint, out=tmp_path, input_size="32x40", batch="dynamic", mean=mean, std=std, resize=40
    )
    card = result.files[0].artifact.card
    assert card.input.shape == (None, 3, 32, 40)
    assert (card.preprocessing.mean, card.preprocessing.std) == ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def test_predict_refuses_no_classes(tmp_path):
    with pytest.raises(DcdDeployError, match="expected `top` as a whole number"):
        commands.predict(tmp_path / "none.onnx", tmp_path / "none.png", top=0)
