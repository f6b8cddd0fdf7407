"""Kernels of a mixture in lists and dicts, of tensors and of modules: read in their order, proved, else not told."""

import pytest
import torch
import torch.nn.functional as F
from dynamic_layers import lively
from mixture_layers import per_sample
from proving import proved, random
from torch import nn

from dcd_deploy.dynamic.recognise import Refusal, candidates, recognise
from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.network import network_of


class Wrapped(nn.Module):
    """A convolution in a module of its own."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x):
        return self.conv(x)


HOLDERS = {
    "list": nn.ModuleList,
    "dict": lambda convs: nn.ModuleDict({f"e{9 - m}": conv for m, conv in enumerate(convs)}),
    "sequentials": lambda convs: nn.ModuleList([nn.Sequential(conv) for conv in convs]),
    "dropouts": lambda convs: nn.ModuleList([nn.Sequential(nn.Dropout(), conv) for conv in convs]),
    "lists": lambda convs: nn.ModuleList([nn.ModuleList([conv]) for conv in convs]),
    "wrapped, in a dict": lambda convs: nn.ModuleDict({f"e{m}": Wrapped(conv) for m, conv in enumerate(convs)}),
}


class Held(nn.Module):
    """DY-Conv whose convolutions something holds; their weights are mixed."""

    def __init__(self, holder, C=6, K=8, M=3, **conv):
        super().__init__()
        convs = [nn.Conv2d(C, K, 3, **conv) for _ in range(M)]
        self.experts, self.fc = holder(convs), nn.Linear(C, M)

    def kernels(self):
        return [part for part in self.experts.modules() if isinstance(part, nn.Conv2d)]

    def forward(self, x):
        convs = self.kernels()
        pi = F.softmax(self.fc(x.mean((2, 3))), 1)
        weight = torch.einsum("nm,mkcab->nkcab", pi, torch.stack([conv.weight for conv in convs]))
        bias = None if convs[0].bias is None else pi @ torch.stack([conv.bias for conv in convs])
        names = ("stride", "padding", "dilation", "groups")
        return per_sample(x, weight, bias, **{name: getattr(convs[0], name) for name in names})


@pytest.mark.parametrize("options", [{"padding": 1}, {"stride": 2, "groups": 2, "bias": False}], ids=str)
@pytest.mark.parametrize("holder", HOLDERS)
def test_convolutions_that_something_holds(holder, options):
    module = lively(Held(HOLDERS[holder], **options))
    operator = proved(module, random(2, 6, 9, 8))
    assert operator.family == "dy_conv"
    wanted = torch.stack([conv.weight for conv in module.kernels()])
    assert torch.equal(operator.terms[0].bank, wanted), "in their order"


@pytest.mark.parametrize("holder", HOLDERS)
def test_as_many_convolutions_as_nobody_weighs_are_none(holder):
    module = Held(HOLDERS[holder])
    module.fc = nn.Linear(6, 5)
    assert candidates(module) is None


def test_what_holds_more_than_a_convolution_is_no_kernel():
    assert candidates(Held(lambda convs: nn.ModuleList([nn.Sequential(conv, nn.ReLU()) for conv in convs]))) is None
    assert candidates(Held(lambda convs: nn.ModuleDict({"a": convs[0], "b": convs[1], "c": nn.ReLU()}))) is None


class OneBehindTheOther(Held):
    def forward(self, x):
        for conv in self.kernels():
            x = conv(x)
        return self.fc(x.mean((2, 3)))


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_block_of_convolutions_in_a_row_is_not_told(holder):
    block = OneBehindTheOther(HOLDERS[holder], K=6)
    assert capture(network_of(nn.Sequential(block).eval(), random(1, 6, 9, 8))).refused == {}


class TensorsHeld(nn.Module):
    """Kernels, and biases, in lists or dicts of parameters."""

    def __init__(self, kernels, biases=None, C=6, K=8, M=3):
        super().__init__()
        self.kernels = kernels([torch.randn(K, C, 3, 3) for _ in range(M)])
        self.biases = biases([torch.randn(K) for _ in range(M)]) if biases else None
        self.fc, self.padding, self.shift = nn.Linear(C, M), 1, 0.0

    def forward(self, x):
        pi = F.softmax(self.fc(x.mean((2, 3))), 1)
        kernels = torch.stack([one for one in tensors(self.kernels) if one.dim() == 4])
        weight = torch.einsum("nm,mkcab->nkcab", pi, kernels)
        rows = [] if self.biases is None else tensors(self.biases)
        rows += [one for one in tensors(self.kernels) if one.dim() == 1]
        bias = pi @ torch.stack(rows) if rows else None
        return per_sample(x, weight, bias, stride=1, padding=1, dilation=1, groups=1) + self.shift * x.mean()


def tensors(held):
    return list(held.values() if isinstance(held, nn.ParameterDict) else held)


def as_dict(each):
    return nn.ParameterDict({f"w{9 - m}": nn.Parameter(one) for m, one in enumerate(each)})


def with_biases(each):
    """Return the kernels, and a bias behind each of them, as one dict."""
    held = nn.ParameterDict()
    for m, one in enumerate(each):
        held[f"w{m}"], held[f"b{m}"] = nn.Parameter(one), nn.Parameter(torch.randn(len(one)))
    return held


TENSORS = {
    "dict": (as_dict, None),
    "dicts": (as_dict, as_dict),
    "lists": (nn.ParameterList, nn.ParameterList),
    "dict, list": (as_dict, nn.ParameterList),
    "one dict": (with_biases, None),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_in_lists_and_dicts(name):
    assert proved(lively(TensorsHeld(*TENSORS[name])), random(2, 6, 9, 8)).family == "dy_conv"


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_of_another_function_are_told(name):
    module = lively(TensorsHeld(*TENSORS[name]))
    module.shift = 1.0
    refusal = recognise(module, (random(2, 6, 9, 8),))
    assert isinstance(refusal, Refusal)
    assert "computes something else" in refusal.reason


def test_other_tensors_beside_kernels_are_none():
    module = TensorsHeld(as_dict)
    module.kernels["more"] = nn.Parameter(torch.randn(5))
    assert candidates(module) is None
