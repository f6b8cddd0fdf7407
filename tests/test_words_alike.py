"""``export_module`` has the words of ``commands.export``: a runtime, a lowering file, all others."""

import inspect
from dataclasses import replace

import onnx
import pytest
import torch
from dynamic_layers import lively
from mixture_layers import MixedKernels
from torch import nn
from tuning_subjects import LOWERING

from dcd_deploy import commands, export_module
from dcd_deploy.errors import LoweringFileError, OptionError, UnknownNameError
from dcd_deploy.tuning.lowering_file import write_lowering

X = torch.randn(1, 3, 9, 9)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 1), lively(MixedKernels()), nn.ReLU()).eval()


def test_it_has_every_word():
    words, further = (set(inspect.signature(one).parameters) for one in (commands.export, export_module))
    assert words - further == {"checkpoint", "network"}
    assert further - words == {"module", "example", "leaf"}


def test_a_file_for_one_runtime(network, tmp_path):
    """OpenCV 4 takes no convolution with computed weights."""

    def computed(**words):
        path = export_module(network, X, out=tmp_path, name="_".join(words) or "net", **words).artifact.path
        graph = onnx.load(path).graph
        constants = {one.name for one in graph.initializer}
        return [node for node in graph.node if node.op_type == "Conv" and node.input[1] not in constants]

    assert computed()
    assert not computed(for_="opencv4")
    with pytest.raises(OptionError, match="`batch` with `for_` nnapi"):
        export_module(network, X, out=tmp_path, name="net", for_="nnapi", batch="dynamic")
    with pytest.raises(UnknownNameError, match="opencv"):
        export_module(network, X, out=tmp_path, name="net", for_="opencv3")


def test_a_lowering_file(network, tmp_path):
    tuned = replace(
        LOWERING, network="Sequential", inputs=((3, 9, 9),), layers={"1": "branch"}, device="ssh://board", cpu="other"
    )
    write_lowering(tmp_path / "tuned.json", tuned)
    write_lowering(tmp_path / "other.json", replace(tuned, layers={"2": "branch"}))
    made = export_module(network, X, to="tflite", out=tmp_path, name="net", lowering=tmp_path / "tuned.json")
    assert made.built.lowering == {"1": "branch"}
    assert made.built.config.target == "litert"
    with pytest.raises(LoweringFileError, match="'1' missing"):
        export_module(network, X, to="tflite", out=tmp_path, name="other", lowering=tmp_path / "other.json")
    with pytest.raises(OptionError, match="`target` litert, for which"):
        export_module(network, X, to="tflite", out=tmp_path, lowering=tmp_path / "tuned.json", target="litert-compiled")
