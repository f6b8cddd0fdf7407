"""Settings of a convolution of kernels that no attribute of the usual name tells: guessed by sizes, proved, or told."""

import pytest
import torch
from dynamic_layers import lively
from mixture_layers import MixedKernels, RoutedFromOutside, per_sample
from proving import proved, random
from torch import nn

from dcd_deploy.dynamic.recognise import Refusal, candidates, recognise
from dcd_deploy.lowering.capture import capture, capture_expecting
from dcd_deploy.lowering.network import network_of

SETTINGS = ("stride", "padding", "dilation", "groups")


class OtherNames(MixedKernels):
    """Its settings have names of one letter, or stand in the forward alone."""

    def __init__(self, told=(), named=True, **sizes):
        super().__init__(**sizes)
        self.written = lambda: settings  # as in the source of a forward
        settings = {name: vars(self).pop(name) for name in SETTINGS if name not in told}
        if named:
            for name, value in settings.items():
                setattr(self, name[0], value)

    def geometry(self):
        return {name: getattr(self, name, None) for name in SETTINGS} | self.written()


UNTOLD = {
    "stride": {"stride": 2},
    "stride, padding told": {"stride": 2, "told": ("padding", "dilation")},
    "stride 3": {"stride": 3, "padding": 0},
    "stride of rows": {"stride": (2, 1), "kernel": 5, "padding": 2},
    "even kernel": {"stride": 2, "kernel": 4},
    "dilation": {"dilation": 3, "padding": 3},
    "rate": {"dilation": 6, "padding": 6},
    "both": {"stride": 2, "dilation": 2, "padding": 2},
    "none": {},
    "depthwise": {"stride": 2, "K": 6, "groups": 6},
}


IN_THE_FORWARD = [name for name in UNTOLD if name != "rate"]  # a rate of 6 that nothing says is none of the guesses


@pytest.mark.parametrize(("name", "named"), [*((n, True) for n in UNTOLD), *((n, False) for n in IN_THE_FORWARD)])
def test_settings_of_another_name(name, named):
    options = {"told": ("groups",)} | UNTOLD[name]
    module = OtherNames(named=named, **options)
    operator = proved(lively(module), random(2, 6, 14, 13))
    wanted = {"stride": 1, "padding": 1, "dilation": 1} | {k: v for k, v in options.items() if k in SETTINGS}
    g = operator.geometry
    for setting in ("stride", "padding", "dilation"):
        value = wanted[setting]
        assert getattr(g, setting) == (value if isinstance(value, tuple) else (value, value))


GROUPED = {
    "grouped": {"groups": 2},
    "pooled to 2x2": {"groups": 3, "C": 12, "K": 9, "pool": 2, "linear": True},
    "depthwise": {"K": 6, "groups": 6},
    "all of them": {"groups": 3, "K": 9, "stride": 2, "padding": 2, "dilation": 2},
}


class SeenInBlocks(OtherNames):
    """Its attention sees more of a channel than its mean."""

    def __init__(self, C, pool, **sizes):
        super().__init__(C=C, **sizes)
        self.route.fc1 = nn.Linear(C * pool * pool, self.route.fc1.out_features, bias=False)
        self.route.avgpool = nn.AdaptiveAvgPool2d(pool)


@pytest.mark.parametrize("name", GROUPED)
def test_groups_of_another_name(name):
    options = GROUPED[name]
    module = (SeenInBlocks if "pool" in options else OtherNames)(**options)
    operator = proved(lively(module), random(2, options.get("C", 6), 14, 13))
    assert operator.geometry.groups == options["groups"]


def test_groups_of_another_name_where_the_attention_is_outside():
    class Split(RoutedFromOutside):
        def __init__(self):
            super().__init__(groups=2)
            self.parts = vars(self).pop("groups")

        def forward(self, x, routing):
            weight = (routing @ self.experts).view(len(x), self.out_channels, -1, *self.kernel_size)
            return per_sample(x, weight, routing @ self.bias, stride=1, padding=1, dilation=1, groups=self.parts)

    assert proved(lively(Split()), random(2, 6, 9, 8), random(2, 4)).geometry.groups == 2


class SeesOthers(OtherNames):
    """Its attention sees a number of values that no groups explain; it takes a second tensor, or none."""

    def __init__(self, **sizes):
        super().__init__(linear=True, **sizes)
        self.route.fc1, self.route.avgpool = nn.Linear(7, 3), nn.Identity()

    def forward(self, x, seen=None):
        means = x.mean((2, 3), keepdim=True)
        pi = self.route(torch.cat([means, means[:, :1]], 1))
        weight = torch.einsum("nm,mkcab->nkcab", pi, self.weight)
        return per_sample(x, weight, pi @ self.bias, **self.geometry())


def test_an_attention_that_fits_no_groups_is_told():
    refusal = recognise(lively(SeesOthers()), (random(2, 6, 9, 8),))
    assert isinstance(refusal, Refusal)
    assert "its attention takes 7 values, which do not fit the 6 channels that its kernels read" in refusal.reason


def test_a_layer_of_more_tensors_than_its_parts_is_told():
    class Also(OtherNames):
        def forward(self, *given):
            return super().forward(given[0]) + given[1].mean()

    refusal = recognise(lively(Also()), (random(2, 6, 9, 8), random(2, 6, 9, 8), random(2, 6)))
    assert isinstance(refusal, Refusal)
    assert "of fewer tensors than the 3 that it takes" in refusal.reason


def test_what_is_told_is_not_guessed():
    module = lively(MixedKernels(stride=2))
    assert {one.geometry.stride for one in candidates(module)} == {(2, 2)}
    assert {one.geometry.dilation for one in candidates(module)} == {(1, 1)}


class Cropped(OtherNames):
    """Its output has a size that no stride makes."""

    def forward(self, x):
        return super().forward(x)[..., :-3]


def test_a_size_that_no_convolution_makes_is_told():
    refusal = recognise(lively(Cropped(stride=2)), (random(2, 6, 14, 13),))
    assert isinstance(refusal, Refusal)
    assert "its output has shape (2, 8, 7, 4) for an input of (2, 6, 14, 13)" in refusal.reason


class Shifted(OtherNames):
    """A function of the right size that is no convolution by the mixture."""

    def forward(self, x):
        return super().forward(x).flip(3)


def test_a_guess_of_the_right_size_is_believed_only_when_proved():
    refusal = recognise(lively(Shifted(stride=2)), (random(2, 6, 14, 13),))
    assert isinstance(refusal, Refusal)
    assert "computes something else" in refusal.reason


def test_layers_of_several_untold_strides_are_of_one_kind():
    """What is expected of the second is what was proved of the first, though their strides are other guesses."""
    torch.manual_seed(0)
    layers = [OtherNames(C=6, K=6, stride=stride, padding=1) for stride in (1, 2, 2, 1)]
    made = network_of(lively(nn.Sequential(*layers)), random(1, 6, 16, 15))
    found = capture_expecting(made)
    assert found.proved().graph is found.graph
    operators = capture(made).operators
    assert [one.geometry.stride for one in operators.values()] == [(1, 1), (2, 2), (2, 2), (1, 1)]
