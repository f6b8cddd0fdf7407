"""``record_reference``: what it writes of any network's answers, and what it refuses."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from capturing import Calling
from torch import nn

import dcd_deploy
from dcd_deploy.errors import OptionError, OutputError
from dcd_deploy.export.recorded import read_recorded


def test_importing_the_package_loads_no_torch():
    code = "import sys, dcd_deploy; print('torch' in sys.modules, callable(dcd_deploy.record_reference))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
    with pytest.raises(AttributeError, match="no attribute 'record_nothing'"):
        dcd_deploy.record_nothing  # noqa: B018 - that is the question


class Detector(nn.Module):
    def __init__(self, kind) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.5))
        self.body[0].eval()
        self.kind = kind

    def forward(self, x, y):
        a, b = self.body(x).mean((2, 3)), self.body(y).amax((2, 3))
        return {"tuple": (a, b), "list": [a, b], "dict": {"boxes": a, "scores": b}, "one": a, "file": {"file": b}}[
            self.kind
        ]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("tuple", ["output_0", "output_1"]),
        ("list", ["output_0", "output_1"]),
        ("dict", ["boxes", "scores"]),
        ("one", ["output"]),
        ("file", ["file"]),
    ],
)
def test_recording_inputs_and_outputs_of_any_number(tmp_path, kind, names):
    network = Detector(kind).train()
    network.body[0].eval()
    inputs = torch.randn(3, 3, 8, 8), torch.randn(3, 3, 8, 8).double()
    path = dcd_deploy.record_reference(network, inputs, tmp_path / "pairs.npz")
    assert [m.training for m in network.modules()] == [True, True, False, True], "its modes are as before"
    found = read_recorded(path, [("input", (3, 8, 8)), ("input_1", (3, 8, 8))], names)
    assert [*found.outputs] == names
    with torch.no_grad():
        answer = network.eval()(inputs[0], inputs[1].float())
    values = list(answer.values()) if isinstance(answer, dict) else [answer] if kind == "one" else answer
    for wanted, name in zip(values, names, strict=True):
        assert np.array_equal(found.outputs[name], wanted.double().numpy())


def test_what_cannot_be_recorded_is_refused_and_leaves_no_file(tmp_path):
    path, x = tmp_path / "pairs.npz", torch.randn(2, 3, 8, 8)
    conv = nn.Conv2d(3, 4, 1).train()

    cases = [
        (lambda x: x, x, "found function"),
        (conv, "x.png", "expected input 0 as a tensor"),
        (conv, torch.zeros(0, 3, 8, 8), "as many entries"),
        (conv, x * float("nan"), "NaN or infinity in input 0"),
        (Calling(lambda x: x.argmax(1)), x, "expected output 'output' as a tensor"),
        (Calling(lambda x: x[:1]), x, "as many entries"),
        (Calling(lambda x: {"input": x}), x, "found one called 'input'"),
        (Calling(lambda x: (x, (x,))), x, "expected output 'output_1'"),
    ]
    for network, inputs, words in cases:
        with pytest.raises(OptionError, match=words):
            dcd_deploy.record_reference(network, inputs, path)
    assert conv.training
    assert not list(tmp_path.iterdir())
    with pytest.raises(OutputError):
        dcd_deploy.record_reference(conv, x, tmp_path)


def test_recording_ignores_autocast(tmp_path):
    network, x = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        path = dcd_deploy.record_reference(network, x, tmp_path / "pairs.npz")
    found = read_recorded(path, [("input", (3, 8, 8))], ["output"])
    with torch.no_grad():
        assert np.array_equal(found.outputs["output"], network(x).double().numpy())


def test_arrays_in_column_order(tmp_path):
    values = np.asfortranarray(np.random.default_rng(0).standard_normal((2, 3, 4, 5)))
    np.savez(tmp_path / "p.npz", input=values, output=np.asfortranarray(values))
    found = read_recorded(tmp_path / "p.npz", [("input", (3, 4, 5))], ["output"])
    assert np.array_equal(found.outputs["output"], values)
