"""What runs and reads TFLite files: LiteRT, its delegate, the older interpreter, the standard reader."""

import json
import subprocess
from pathlib import Path

import digits
import numpy as np
import pytest
import torch
from conftest import DIGITS_OPTIONS
from deployed import OnChannelsLast
from torch import nn

from dcd_deploy import commands
from dcd_deploy.artifacts import LAYOUTS, METADATA_KEY
from dcd_deploy.export.deployable import deployable
from dcd_deploy.export.tflite.convert import to_tflite
from dcd_deploy.runtimes import open_model
from dcd_deploy.runtimes.flatbuffer import read_texts
from dcd_deploy.runtimes.litert import LiteRtSession
from dcd_deploy.runtimes.nodes import delegation

ROOT = Path(__file__).parent.parent
LEGACY = ROOT / ".venv-tflite-runtime" / "bin" / "python"
FLOAT32 = 5e-5


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return self.function(x)


def legacy(path, *arguments):
    assert LEGACY.exists(), "the environment of tflite-runtime is missing: run the tests with `make test-long`"
    command = [LEGACY, ROOT / "tests" / "legacy_reader.py", path, *arguments]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


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
    assert answer["labels"] == list(digits.LABELS)
    assert answer["loaded"] == [], "open_model needs numpy and one interpreter alone"


@pytest.mark.exhaustive
@pytest.mark.parametrize("weights", ["int8", "float16"])
def test_small_weights_run_under_tflite_runtime(weights, digits_checkpoint, held_out, tmp_path):
    result = commands.export(digits_checkpoint, to="tflite", out=tmp_path, weights=weights, **DIGITS_OPTIONS)
    images = digits.normalised(held_out[0])
    np.save(tmp_path / "images.npy", images)
    answer = legacy(result.artifact.path, tmp_path / "images.npy")
    assert answer["relative"] <= FLOAT32
    assert answer["classes"] == open_model(result.artifact.path).run(images).argmax(1).tolist()


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


def test_the_readers_texts(digits_tflite):
    texts = read_texts(digits_tflite.artifact.path.read_bytes(), "whole")
    assert json.loads(texts[METADATA_KEY])["arch"] == "mobilenetv2_dcd"
    assert LAYOUTS == ("nhwc", "nchw")
