"""A network of one's own on the command line: what it prints, and what of it is kept whole."""

import json
import signal
from pathlib import Path

import pytest
import torch
from command_line import dcd_deploy, run_here
from mixture_layers import MixedKernels
from torch import nn
from tuning_subjects import FEW

from dcd_deploy import commands
from dcd_deploy.errors import CaptureError

TALKING = """
import os, subprocess, sys
sys.path.insert(0, {tests!r})
from mixture_layers import MixedKernels
import torch

print("the file talks")

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        print("the factory talks")
        subprocess.run(["echo", "a program of the factory talks"], check=True)
        self.first, self.second = MixedKernels(K=6), MixedKernels(K=6)

    def forward(self, x):
        print("the forward talks")
        os.write(1, b"native code talks\\n")
        sys.__stdout__.write("the first stdout talks\\n")
        return self.second(torch.relu(self.first(x)))
"""
SAID = ("the file", "the factory", "a program of the factory", "the forward", "native code", "the first stdout")


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """The checkpoint of a network that prints, and the options that name it."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "net.py").write_text(TALKING.format(tests=str(Path(__file__).parent)))
    torch.manual_seed(0)
    layers = nn.ModuleDict({"first": MixedKernels(K=6), "second": MixedKernels(K=6)})
    torch.save(layers.state_dict(), folder / "net.pt")
    return folder / "net.pt", ("--network", f"{folder / 'net.py'}:Net", "--input-shape", "6,9,7")


@pytest.fixture(scope="module")
def told(own, tmp_path_factory):
    """What each command that takes a network prints, and where, with the second layer kept whole."""
    weights, network = own
    out = tmp_path_factory.mktemp("out")
    options = (*network, "--leaf", "second", "--json")
    lines = {
        "export": ("export", weights, "--out", out, "--name", "own", *options),
        "inspect": ("inspect", weights, *options),
        "costs": ("costs", weights, "--target", "litert", *options),
        "tune": ("tune", weights, "--target", "onnxruntime-x86", "--threads", "1", *options),
        "verify": ("verify", out / "own.onnx", "--checkpoint", weights, *network[:2], *options[4:]),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(out / "cache"))
        patch.setattr("dcd_deploy.tuning.tune.TuneConfig.measure", FEW)
        return {name: run_here(*line) for name, line in lines.items()}


@pytest.mark.parametrize("command", ["export", "inspect", "costs", "tune", "verify"])
def test_what_a_network_prints_goes_to_standard_error(told, command):
    done = told[command]
    assert done.returncode == 0, done.stderr
    assert isinstance(json.loads(done.stdout), dict)
    assert "talks" not in done.stdout
    assert all(f"{words} talks" in done.stderr for words in SAID)


def test_a_leaf_is_no_dynamic_layer(told):
    answers = {name: json.loads(done.stdout) for name, done in told.items()}
    (file,) = answers["export"]["files"]
    assert set(file["lowering"]) == {"first"}
    assert [layer["name"] for layer in answers["inspect"]["network"]["layers"]] == ["first"]
    for command in ("costs", "tune"):
        assert [shape["layers"] for shape in answers[command]["shapes"]] == [["first"]], command
    assert set(answers["tune"]["lowering"]["layers"]) == {"first"}


def test_a_leaf_that_is_not_there_is_refused(own, told, small_checkpoint, tmp_path):
    weights, (_, factory, *_) = own
    file = json.loads(told["export"].stdout)["files"][0]["path"]
    network = {"network": factory, "input_shape": "6,9,7", "leaf": ["first", "nowhere"]}
    for refuse in (
        lambda: commands.export(weights, out=tmp_path, **network),
        lambda: commands.inspect(weights, **network),
        lambda: commands.costs(weights, target="litert", **network),
        lambda: commands.tune(weights, target="onnxruntime-x86", **network),
        lambda: commands.verify(file, checkpoint=weights, network=factory, leaf="nowhere"),
        lambda: commands.inspect(small_checkpoint, input_size=32, leaf="nowhere"),
    ):
        with pytest.raises(CaptureError, match="as leaf, found 'nowhere'"):
            refuse()


def test_a_native_crash_of_a_network_names_its_line(tmp_path, small_checkpoint):
    file = tmp_path / "crashing.py"
    file.write_text("import ctypes\n\n\ndef make():\n    ctypes.string_at(0)\n")
    done = dcd_deploy("inspect", small_checkpoint, "--network", f"{file}:make", "--input-shape", "3,32,32")
    assert done.returncode == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in done.stderr
    assert f'File "{file}", line 5 in make' in done.stderr
