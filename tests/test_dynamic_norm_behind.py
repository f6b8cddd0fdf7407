"""A norm, and a function, behind a dynamic convolution in the same module: folded, and told."""

import pytest
import torch.nn.functional as F
from dynamic_layers import Decomposed, lively
from mixture_layers import MixedKernels, OmniDimensional, RoutedFromOutside, SelfRouted
from proving import proved, random
from torch import nn

from dcd_deploy.dynamic.recognise import Refusal, recognise

LAYERS = {
    "dy_conv": (MixedKernels, {}),
    "dy_conv, a norm inside of its size": (MixedKernels, {"S": 8, "norm": True}),
    "dy_conv, a squeeze of its size": (MixedKernels, {"S": 8, "bias": False}),
    "condconv": (SelfRouted, {"groups": 2}),
    "condconv, from outside": (RoutedFromOutside, {"same": True, "stride": 2}),
    "odconv": (OmniDimensional, {"bias": True}),
}


def behind(kind, function=None, last=nn.BatchNorm2d, **options):
    """Return a layer with a norm behind it, whose forward may end in a function."""

    class WithNorm(kind):
        def __init__(self):
            super().__init__(**options)
            self.bn = last(8) if last else None

        def forward(self, *args):
            y = super().forward(*args)
            y = self.bn(y) if self.bn is not None else y
            return y if function is None else function(y)

    return lively(WithNorm())


def inputs(name):
    return (random(2, 6, 9, 8), random(2, 4)) if "outside" in name else (random(2, 6, 9, 8),)


@pytest.mark.parametrize("name", LAYERS)
def test_a_norm_behind_the_layer(name):
    kind, options = LAYERS[name]
    assert proved(behind(kind, **options), *inputs(name)).family == name.split(",")[0]


FUNCTIONS = {"relu": F.relu, "silu": F.silu, "hardswish": F.hardswish}


@pytest.mark.parametrize("last", [nn.BatchNorm2d, None])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_behind_the_layer_is_told(function, last):
    refusal = recognise(behind(MixedKernels, FUNCTIONS[function], last), inputs(""))
    assert isinstance(refusal, Refusal)
    assert f"it computes {function} of a dynamic convolution: with {function} outside of its forward" in refusal.reason


def test_a_function_behind_the_published_layer_is_told():
    class Ended(Decomposed):
        def forward(self, x):
            return super().forward(x).relu()

    refusal = recognise(lively(Ended()), inputs(""))
    assert "it computes relu of a dynamic convolution" in refusal.reason


@pytest.mark.parametrize("function", [lambda y: y**3, lambda y: y + y.mean(), lambda y: F.relu(y).flip(3)])
def test_another_function_is_not(function):
    refusal = recognise(behind(MixedKernels, function), inputs(""))
    assert "computes something else" in refusal.reason


def test_a_norm_that_depends_on_the_data_is_told():
    refusal = recognise(behind(MixedKernels, last=lambda K: nn.GroupNorm(2, K)), inputs(""))
    assert refusal.reason == "bn is a GroupNorm: it depends on the data"


def test_a_norm_in_front_is_no_norm_behind():
    class InFront(MixedKernels):
        def __init__(self):
            super().__init__(C=8)
            self.bn = nn.BatchNorm2d(8)

        def forward(self, x):
            return super().forward(self.bn(x))

    refusal = recognise(lively(InFront()), (random(2, 8, 9, 8),))
    assert "computes something else" in refusal.reason
