"""Modules that go into eval mode in a way of their own: they return nothing, or gather what their forward reads."""

import numpy as np
import pytest
import torch
from foreign_networks import conv3
from torch import nn

from dcd_deploy import deploy_form, export_module
from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.network import network_of
from dcd_deploy.models.checkpoint import read_checkpoint
from dcd_deploy.models.trained import users_network
from dcd_deploy.runtimes import open_model

X = torch.randn(1, 3, 12, 12)


class Frozen(nn.Module):
    """As backbones of MMDetection: the stem stays in eval mode, and nothing is returned."""

    def __init__(self):
        super().__init__()
        self.stem, self.layer = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), conv3(8, 8)

    def train(self, mode=True):
        super().train(mode)
        self.stem.eval()

    def forward(self, x):
        return self.layer(self.stem(x))


class FrozenAttention(Frozen):
    """The dynamic layer itself, and its activation, return nothing."""

    def __init__(self):
        super().__init__()
        layer, self.layer = self.layer, None
        for part in (layer, *(one for one in layer.modules() if isinstance(one, nn.ReLU))):
            part.__class__ = type(type(part).__name__, (type(part),), {"train": silent, "double": silent_double})
        self.layer = layer


def silent(self, mode=True):
    super(type(self), self).train(mode)


def silent_double(self):
    super(type(self), self).double()


class Attention(nn.Module):
    """LeViT's own: position biases are gathered by ``train(False)``, as a plain tensor."""

    def __init__(self, n=16):
        super().__init__()
        self.query, self.biases = nn.Linear(8, 8), nn.Parameter(torch.randn(n))
        self.register_buffer("index", (torch.arange(n)[:, None] - torch.arange(n)).abs())

    def train(self, mode=True):
        super().train(mode)
        if mode and hasattr(self, "gathered"):
            del self.gathered
        else:
            self.gathered = self.biases[self.index]

    def forward(self, x):
        q = self.query(x)
        return ((q @ x.transpose(-2, -1) + self.taken()).softmax(-1)) @ x

    def taken(self):
        return self.biases[self.index] if self.training else self.gathered


class WithoutHistory(Attention):
    train = torch.no_grad()(Attention.train)


class AsBuffer(Attention):
    """TinyViT's own: the same as a buffer, which has a history."""

    def train(self, mode=True):
        nn.Module.train(self, mode)
        if mode and hasattr(self, "gathered"):
            del self.gathered
        else:
            self.register_buffer("gathered", self.biases[self.index], persistent=False)


class Filled(Attention):
    """A dict that the first call fills, and nothing empties."""

    def __init__(self):
        super().__init__()
        self.cache = {}

    def train(self, mode=True):
        return nn.Module.train(self, mode)

    def taken(self):
        if "biases" not in self.cache:
            self.cache["biases"] = self.biases[self.index]
        return self.cache["biases"]


class Attending(nn.Module):
    def __init__(self, attention):
        super().__init__()
        self.conv, self.attention = nn.Conv2d(3, 8, 3, 3), attention()

    def forward(self, x):
        return self.attention(self.conv(x).flatten(2).transpose(1, 2)).mean(1)


def prepared(made):
    torch.manual_seed(0)
    made.eval()
    return made


@pytest.mark.parametrize("kind", [Frozen, FrozenAttention])
@pytest.mark.parametrize("to", ["onnx", "tflite"])
def test_a_train_that_returns_nothing(kind, to, tmp_path):
    network = prepared(kind())
    result = export_module(network, X, to=to, layout="nchw", out=tmp_path)
    assert_file_is(network, result)


def test_its_layer_is_recognised_and_its_deploy_form_made():
    for network in (prepared(Frozen()), prepared(FrozenAttention())):
        assert set(capture(network_of(network, X)).operators) == {"layer"}
        assert deploy_form(network, X)(X).shape == network(X).shape


def test_one_of_a_python_file_returns_nothing(tmp_path):
    torch.save(nn.Conv2d(3, 5, 3).state_dict(), tmp_path / "weights.pt")
    (tmp_path / "network.py").write_text(
        "import torch\n\nclass Own(torch.nn.Conv2d):\n    def train(self, mode=True):\n        super().train(mode)\n\n"
        "    def double(self):\n        super().double()\n\ndef make():\n    return Own(3, 5, 3)\n"
    )
    found = users_network(read_checkpoint(tmp_path / "weights.pt"), f"{tmp_path}/network.py:make", None, (3, 8, 8))
    assert found.module.weight.dtype == torch.float64
    assert not found.module.training


@pytest.mark.parametrize("kind", [Attention, WithoutHistory, AsBuffer, Filled])
@pytest.mark.parametrize("called", [False, True])
def test_what_train_or_a_call_gathers_follows_the_precision(kind, called, tmp_path):
    network = prepared(Attending(kind))
    if called:
        network(X)
    result = export_module(network, X, batch="dynamic", out=tmp_path)
    assert result.built.report.passed
    assert_file_is(network, result)


def assert_file_is(network, result):
    found = open_model(result.artifact.path).run_all(X.numpy())[0]
    assert np.abs(found - network(X).detach().numpy()).max() < 1e-5
