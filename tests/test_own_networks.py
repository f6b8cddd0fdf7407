"""Costs and tuning of networks that nobody but their user has, from Python and on the command line."""

import json
from pathlib import Path

import onnx
import pytest
import torch
from command_line import refused
from command_line import run_here as run
from foreign_networks import DYNAMIC_LAYERS, NETWORKS
from mixture_layers import MixedKernels, RoutedFromOutside
from torch import nn
from tuning_subjects import FEW, subject_with

import dcd_deploy
from dcd_deploy import commands
from dcd_deploy.benchmarks.process import Here, ask
from dcd_deploy.errors import OptionError
from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.network import network_of
from dcd_deploy.lowering.targets import LITERT, ONNXRUNTIME_X86
from dcd_deploy.progress import silent
from dcd_deploy.tuning.forecast import subject_of
from dcd_deploy.tuning.layer_case import groups_of
from dcd_deploy.tuning.layer_times import time_lowerings
from dcd_deploy.tuning.lowering_file import read_lowering, write_lowering
from dcd_deploy.tuning.tune import TuneConfig, tune

FILE = """
import sys
sys.path.insert(0, {tests!r})
import foreign_networks

print("a file that talks")

def make(kind="Grey"):
    return getattr(foreign_networks, kind)()
"""


@pytest.fixture(scope="module")
def subjects():
    made = {name: NETWORKS[name]() for name in ("segmenter", "grey", "two inputs")}
    return {name: subject_of(capture(network_of(*both)), name) for name, both in made.items()}


def test_layers_of_any_network_are_grouped(subjects):
    for name, subject in subjects.items():
        assert {path for group in subject.groups for path in group.layers} == DYNAMIC_LAYERS[name]
    titles = {group.layers[0]: group.case.title for group in subjects["segmenter"].groups}
    assert titles == {
        "down.layer": "3×3 8→16 on 24×32 by 2",
        "deep.layer": "3×3 16→16 on 12×16",
        "merge.layer": "16→24 on 24×32",
    }
    activations = {group.layers[0]: group.case.activation for group in subjects["segmenter"].groups}
    assert activations == {"down.layer": "relu", "deep.layer": "silu", "merge.layer": "relu6"}
    read_twice, left = (group.case for group in subjects["grey"].groups)
    assert (read_twice.activation, left.activation) == ("none", "relu"), "what two others read is followed by none"
    assert subjects["two inputs"].inputs == ((3, 24, 20), (6,))


class Rows(nn.Module):
    """A layer that is mixed of kernels by weights that another layer computes; functions in place of activations."""

    def __init__(self) -> None:
        super().__init__()
        self.route = nn.Linear(6, 4)
        self.first = RoutedFromOutside(C=6, K=6, kernel=1, bias=False)
        self.second = RoutedFromOutside(C=6, K=6, kernel=1, bias=False)
        self.depthwise = RoutedFromOutside(C=6, K=6, groups=6, bias=False)

    def forward(self, x):
        routing = torch.sigmoid(self.route(x.mean((2, 3))))
        y = torch.relu(self.first(torch.relu(x), routing))
        return self.depthwise(torch.relu(self.second(y, routing)), routing)


def test_layers_whose_attention_reads_something_else():
    subject = subject_with(Rows(), 6, 10, 8)
    pointwise, depthwise = subject.groups
    assert (pointwise.layers, depthwise.layers) == (("first", "second"), ("depthwise",))
    assert pointwise.case.operand == (4,)
    assert pointwise.case.title == "6→6 on 10×8, 4 kernels"
    assert depthwise.case.title == "3×3 6→6 depthwise on 10×8, 4 kernels"
    assert pointwise.case.activation == "relu", "functions have names of their own at each call"
    for target, runtime in ((ONNXRUNTIME_X86, "onnxruntime"), (LITERT, "litert")):
        found = time_lowerings(pointwise, target, runtime, ask, FEW)
        assert set(found.samples) == {*pointwise.case.costs(target), "static"}


def test_a_network_of_ones_own_is_tuned(subjects, tmp_path, monkeypatch):
    monkeypatch.setattr("dcd_deploy.tuning.tune.decided", lambda _: True)  # so few runs leave most of it open
    grey = subjects["grey"]
    result = tune(grey, TuneConfig(ONNXRUNTIME_X86, measure=FEW, cache=tmp_path / "cache"), Here(), silent)
    assert set(result.lowering.layers) == DYNAMIC_LAYERS["grey"]
    assert (result.lowering.network, result.lowering.inputs) == ("grey", ((1, 45, 61),))
    write_lowering(tmp_path / "grey.json", result.lowering)
    found = read_lowering(tmp_path / "grey.json")
    assert found == result.lowering
    found.check_network("grey", grey.inputs)
    found.check_layers(path for group in groups_of(grey.captured) for path in group.layers)


class Squared(MixedKernels):
    """Looks like a dynamic layer, and is none."""

    def forward(self, x):
        return super().forward(x) ** 2


def test_a_network_without_dynamic_layers_says_what_was_refused():
    with pytest.raises(OptionError, match="network, which has no dynamic convolution$"):
        subject_with(nn.Conv2d(3, 3, 1), 3, 8, 8).check_dynamic()
    with pytest.raises(OptionError, match=r"no dynamic convolution \('0' is none: "):
        subject_with(nn.Sequential(Squared()), 6, 8, 8).check_dynamic()
    subject_with(nn.Sequential(MixedKernels()), 6, 8, 8).check_dynamic()


def test_a_layer_in_blocks_without_a_bias(tmp_path):
    """Its file is compared with float64 by the export."""
    torch.manual_seed(0)
    layer = MixedKernels(C=16, K=24, kernel=1, padding=0, bias=False)
    network = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), layer, nn.ReLU()).eval()
    made = dcd_deploy.export_module(
        network, torch.randn(1, 3, 32, 32), target="onnxruntime-x86", lowering="nchwc", out=tmp_path
    )
    assert made.built.lowering == {"2": "nchwc"}
    domains = {node.domain for node in onnx.load(made.artifact.path).graph.node}
    assert "com.microsoft.nchwc" in domains


@pytest.fixture
def own(tmp_path):
    """A Python file of the user's, and a checkpoint of its network."""
    file = tmp_path / "own_net.py"
    file.write_text(FILE.format(tests=str(Path(__file__).parent)))
    module, _ = NETWORKS["grey"]()
    torch.save({"state_dict": module.state_dict()}, tmp_path / "grey.pt")
    return file, tmp_path / "grey.pt"


def test_costs_of_ones_own_network_on_the_command_line(own):
    file, weights = own
    options = ("--target", "litert", "--network", f"{file}:make", "--input-shape", "1,45,61")
    done = run("costs", weights, *options, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["network"], told["inputs"]) == ("Grey", [[1, 45, 61]])
    assert {layer for shape in told["shapes"] for layer in shape["layers"]} == DYNAMIC_LAYERS["grey"]
    refused(run("costs", weights, *options[:4]), 8, "--input-shape")
    refused(run("costs", weights, *options[:3], f"{file}:none", *options[4:]), 24, "'none'", "make")
    other = ("--network-args", '{"kind": "Segmenter"}')
    refused(run("costs", weights, *options, *other), 24, "not those of Segmenter", "missing")
    helped = run("costs", "--help").stdout
    assert "that Python file is run" in " ".join(helped.replace("│", " ").split())


def test_what_tune_says_comes_next(own, capsys, monkeypatch):
    from dcd_deploy.reports.terminal import console
    from dcd_deploy.reports.tune import show_tuning
    from dcd_deploy.tuning.lowering_file import TunedLowering
    from dcd_deploy.tuning.tune import TuneResult

    monkeypatch.setenv("COLUMNS", "200")
    lowering = TunedLowering("litert", "tflite", "Grey", ((1, 45, 61),), "litert", "2", "local", "cpu", 1, {})
    result = TuneResult(lowering, (), 1, Here().environment())
    named = {"network": "own_net.py:make", "network_args": '{"kind": "Grey"}', "leaf": ["squeeze", "a b"]}
    show_tuning(console(), result, {"checkpoint": "grey.pt", "out": "t.json"} | named)
    said = capsys.readouterr().out
    options = "--network own_net.py:make --network-args '{\"kind\": \"Grey\"}' --leaf squeeze --leaf 'a b'"
    assert f"dcd-deploy export grey.pt --to tflite {options} --input-shape 1,45,61 --lowering t.json" in said


def test_costs_from_python_and_on_known_networks_are_the_same_kind(own, small_checkpoint):
    file, weights = own
    mine = commands.costs(weights, target="onnxruntime-x86", network=f"{file}:make", input_shape=(1, 45, 61))
    known = commands.costs(small_checkpoint, target="onnxruntime-x86", input_size=64)
    assert mine.extra > 0
    assert known.inputs == ((3, 64, 64),)
    assert type(mine) is type(known)
