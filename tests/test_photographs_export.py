"""The photographs' network exported: exact in float32, nearly so with small weights, its dynamic heads decide."""

import effects
import numpy as np
import onnx
import photographs
import pytest
from conftest import PHOTOGRAPHS
from test_small_weights import planted, stored, tensors

from dcd_deploy import commands
from dcd_deploy.errors import VerificationError
from dcd_deploy.export.noise import snr_db
from dcd_deploy.export.sensitivity import observing
from dcd_deploy.runtimes import open_model

CHECKPOINT = PHOTOGRAPHS / "dcd.pth.tar"
LEAST_DB = {"int8": 40.0, "float16": 65.0}
MOST_CHANGED = {"int8": 2.0, "float16": 0.0}  # percent of 240 crops
PER_CLASS = 30


@pytest.fixture(scope="module")
def crops():
    images, labels = photographs.free_held_out(PER_CLASS)
    return photographs.normalised(images), labels


@pytest.fixture(scope="module")
def captured():
    return effects.captured_from(CHECKPOINT)


@pytest.fixture(scope="module")
def trained(captured, crops):
    """The logits in float64."""
    return effects.logits_of(captured, crops[0])


@pytest.fixture(scope="module", params=["int8", pytest.param("float16", marks=pytest.mark.exhaustive)])
def small(request, tmp_path_factory, crops):
    """Files with small weights, which the gate judged on held-out crops."""
    folder = tmp_path_factory.mktemp(request.param)
    samples = folder / "samples.npy"
    np.save(samples, crops[0][:8])
    return commands.export(
        CHECKPOINT,
        to="onnx,tflite",
        out=folder,
        input_size=photographs.SIZE,
        resize=photographs.SIZE,
        labels=PHOTOGRAPHS / "labels.txt",
        samples=samples,
        weights=request.param,
    )


def logits_and_noise(small, format, crops, trained):
    """Return the logits of the file of a format, and their signal over noise beside the network's."""
    (file,) = (one for one in small.files if one.artifact.path.suffix == f".{format}")
    logits = open_model(file.artifact.path, threads=1).run(crops[0])
    return logits, snr_db(logits, trained)


@pytest.mark.parametrize("format", ["onnx", "tflite"])
@pytest.mark.exhaustive
def test_small_weights_keep_the_logits(small, format, crops, trained):
    assert logits_and_noise(small, format, crops, trained)[1] >= LEAST_DB[small.built.weights.format]


@pytest.mark.parametrize("format", ["onnx", "tflite"])
@pytest.mark.exhaustive
def test_small_weights_keep_the_decisions(small, format, crops, trained):
    logits, _ = logits_and_noise(small, format, crops, trained)
    changed = 100 * (logits.argmax(1) != trained.argmax(1)).mean()
    assert changed <= MOST_CHANGED[small.built.weights.format]


def test_the_gate_finds_one_scale_doubled(small, tmp_path):
    if small.built.weights.format != "int8":
        pytest.skip("float16 has no scales")
    model = onnx.load(small.artifact.path)
    name = stored(model, "scale")[20]
    onnx.save(planted(model, {name: tensors(model)[name] * 2}), tmp_path / "faulty.onnx")
    with pytest.raises(VerificationError, match="rounded weights"):
        commands.verify(tmp_path / "faulty.onnx", checkpoint=CHECKPOINT)


def test_the_picture_is_named(small):
    for file in small.files:
        assert commands.predict(file.artifact.path, PHOTOGRAPHS / "coffee.png")[0].label == "coffee"


def test_the_heads_decide(captured, crops, trained):
    """Those of another crop are what a careless trace would leave: three quarters of the decisions are others."""
    with observing(captured.graph.module, effects.of_the_crop_before):
        wrong = effects.logits_of(captured, crops[0])
    assert (wrong.argmax(1) != trained.argmax(1)).mean() > 0.5
    assert snr_db(wrong, trained) < 10
