"""A layer that convolves with weights it computes, of no known family, is told with its path; nothing else is."""

import pytest
import torch
import torch.nn.functional as F
from dynamic_layers import lively
from mixture_layers import MixedKernels, per_sample
from proving import random
from torch import nn

from dcd_deploy.lowering import capture as capturing
from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.network import network_of


class WeightMaking(nn.Module):
    """Its weights come from a layer of the pooled input, as WeightNet's do."""

    def __init__(self, C=4, K=4):
        super().__init__()
        self.make = nn.Conv2d(C, K * C * 9, 1)

    def forward(self, x):
        n, c, _, _ = x.shape
        weight = torch.sigmoid(self.make(F.adaptive_avg_pool2d(x, 1))).view(n, -1, c, 3, 3)
        return per_sample(x, weight, None, stride=1, padding=1, dilation=1, groups=1)


class MixedSignals(nn.Module):
    """DY-Conv of signals, whose convolution gets its weight by name."""

    def __init__(self, C=4, K=4, M=3):
        super().__init__()
        self.route = nn.Linear(C, M)
        self.kernels = nn.Parameter(torch.randn(M, K, C, 3))

    def forward(self, x):
        n, _, side, _ = x.shape
        weight = torch.einsum("nm,mkcs->nkcs", self.route(x.mean((2, 3))).softmax(1), self.kernels)
        y = F.conv1d(x.reshape(1, -1, side * side), weight=weight.flatten(0, 1), padding=1, groups=n)
        return y.view(n, -1, side, side)


class Transposed(WeightMaking):
    def forward(self, x):
        weight = self.make(x.mean((0, 2, 3), keepdim=True)).view(4, 4, 3, 3)
        return F.conv_transpose2d(x, weight)


class Inner(nn.Sequential):
    """The layer within another module, behind a plain convolution."""

    def __init__(self, layer):
        super().__init__(nn.Conv2d(4, 4, 1), nn.Sequential(layer, nn.ReLU()))


def notes(module, way, monkeypatch):
    if way == "export":
        monkeypatch.setattr(capturing, "_by_fx", lambda *_: 1 / 0)
    captured = capture(network_of(lively(module), random(1, 4, 8, 8)))
    return [one for one in captured.graph.notes if "'" in one or "itself" in one]


TOLD = {
    "WeightNet": (WeightMaking, "conv2d"),
    "signals": (MixedSignals, "conv1d"),
    "transposed": (Transposed, "conv_transpose2d"),
}


@pytest.mark.parametrize("way", ["fx", "export"])
@pytest.mark.parametrize("name", TOLD)
def test_it_is_told_with_its_path(name, way, monkeypatch):
    make, function = TOLD[name]
    (note,) = notes(Inner(make()), way, monkeypatch)
    assert note == (
        f"'1.0' convolves ({function}) with weights that it computes, and is none of the families that are known "
        "(DCD, DY-Conv, CondConv, ODConv): it is exported as ordinary operators"
    )


def test_it_may_be_the_network(monkeypatch):
    (note,) = notes(WeightMaking(), "fx", monkeypatch)
    assert note.startswith("the module itself convolves (conv2d) with weights")


def test_each_is_told_once(monkeypatch):
    class Twice(WeightMaking):
        def forward(self, x):
            return super().forward(super().forward(x))

    assert len(notes(nn.Sequential(Twice(), WeightMaking()), "fx", monkeypatch)) == 2


class Standardised(nn.Conv2d):
    """Its weight is computed, but from no input."""

    def forward(self, x):
        weight = (self.weight - self.weight.mean((1, 2, 3), keepdim=True)) * torch.ones_like(x[:1, :1, :1, :1])
        return F.conv2d(x, weight.view(x.shape[1], -1, *self.kernel_size), self.bias)


class Attending(nn.Module):
    """Products of two maps are no convolutions."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Conv2d(4, 12, 1)

    def forward(self, x):
        q, k, v = self.qkv(x).flatten(2).chunk(3, 1)
        return (v @ (q.transpose(1, 2) @ k).softmax(-1)).view_as(x)


class OfAnotherKind(MixedKernels):
    def forward(self, x):
        return super().forward(x) ** 2


SILENT = {
    "weights of weights": lambda: Standardised(4, 4, 1),
    "attention": Attending,
    "recognised": lambda: MixedKernels(C=4, K=4),
    "transformer": lambda: nn.Sequential(nn.Flatten(2), nn.TransformerEncoderLayer(64, 4, 32, batch_first=True)),
}


@pytest.mark.parametrize("way", ["fx", "export"])
@pytest.mark.parametrize("name", SILENT)
def test_others_are_not_told(name, way, monkeypatch):
    assert notes(nn.Sequential(nn.Conv2d(4, 4, 1), SILENT[name]()), way, monkeypatch) == []


def test_what_was_refused_is_told_once(monkeypatch):
    (note,) = notes(nn.Sequential(OfAnotherKind(C=4, K=4)), "fx", monkeypatch)
    assert note.startswith("'0' is exported as ordinary operators: it holds the parts, but computes something else")
