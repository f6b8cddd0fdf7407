"""Mixtures of kernels, DY-Conv, CondConv and ODConv: recognised by what they hold, proved equal, else refused."""

import pytest
import torch
import torch.nn.functional as F
from dynamic_layers import lively
from hypothesis import given, settings
from hypothesis import strategies as st
from mixture_layers import (
    Experts,
    KernelsAsMatrices,
    ListedKernels,
    MixedConvolutions,
    MixedKernels,
    OmniDimensional,
    OverKernels,
    RoutedFromOutside,
    SelfRouted,
    SettingsInADict,
    SizesInATuple,
    StackedKernels,
)
from proving import proved, random
from torch import nn

from dcd_deploy.dynamic.recognise import Refusal, candidates, recognise
from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.network import network_of

KERNELS = {
    "plain": {},
    "temperature": {"temperature": 30.0},
    "linear": {"linear": True},
    "norm": {"norm": True},
    "linear, norm": {"norm": True, "linear": True},
    "silu": {"hidden": "silu"},
    "grouped": {"groups": 2},
    "depthwise": {"K": 6, "groups": 6},
    "no bias": {"bias": False},
    "stride 2, dilated": {"stride": 2, "dilation": 2, "padding": 2},
    "pointwise": {"kernel": 1, "padding": 0},
}


@pytest.mark.parametrize("name", KERNELS)
def test_dy_conv(name):
    assert proved(lively(MixedKernels(**KERNELS[name])), random(2, 6, 9, 8)).family == "dy_conv"


class WrittenTemperature(OverKernels):
    """The paper's, in the forward alone."""

    def forward(self, x):
        return F.softmax(self.fc2(F.relu(self.fc1(self.avgpool(x)))).flatten(1) / 30, 1)


def test_a_temperature_that_no_part_holds():
    module = MixedKernels()
    module.route = WrittenTemperature(6, 4, 3, temperature=None)
    proved(lively(module), random(2, 6, 9, 8))


def test_dy_conv_of_listed_kernels():
    assert proved(lively(ListedKernels(groups=2)), random(2, 6, 9, 8)).family == "dy_conv"


@pytest.mark.parametrize("conv", [{"kernel_size": 3, "padding": 1, "bias": False}, {"kernel_size": 1}], ids=str)
def test_dy_conv_as_a_list(conv):
    assert proved(lively(MixedConvolutions(**conv, temperature=4.0)), random(2, 6, 9, 8)).family == "dy_conv"


APART = {
    "dy_conv": {"S": 4, "kernel_size": 3, "padding": 1, "stride": 2, "bias": False},
    "dy_conv, pointwise": {"S": 4, "kernel_size": 1, "M": 4},
    "condconv": {"kernel_size": 3, "groups": 2},
}


@pytest.mark.parametrize("name", APART)
def test_convolutions_under_names_of_their_own(name):
    module = lively(Experts(**APART[name]))
    assert proved(module, random(2, 6, 9, 8)).family == name.split(",")[0]


STACKED = {
    "plain": {"kernel_size": 3, "padding": 1, "bias": False},
    "biases, stride": {"kernel_size": 3, "stride": 2},
    "rows of kernels": {"kernel_size": 1, "rows": True},
    "one bias, grouped": {"kernel_size": 3, "one_bias": True, "groups": 2, "dilation": 2},
}


@pytest.mark.parametrize("name", STACKED)
def test_kernels_as_one_weight(name):
    assert proved(lively(StackedKernels(**STACKED[name])), random(2, 6, 9, 8)).family == "dy_conv"


def test_a_table_beside_layers_is_no_kernels():
    block = nn.Sequential(nn.Conv2d(6, 3, 1))
    block.register_buffer("table", torch.ones(6, 6, 3, 3))
    assert candidates(block) is None
    block.register_parameter("weight", nn.Parameter(torch.ones(3, 6, 3, 3)))
    assert candidates(block) is None


IN_A_DICT = [("stride", "padding", "dilation"), ("stride", "padding", "dilation", "groups"), ("padding",)]


@pytest.mark.parametrize("moved", IN_A_DICT, ids=str)
def test_settings_in_a_dict(moved):
    module = SettingsInADict(moved, stride=2, padding=2, dilation=2, groups=2)
    assert proved(lively(module), random(2, 6, 9, 8)).family == "dy_conv"


class TwoInARow(Experts):
    """A mixture's parts, and none: its convolutions stand one behind the other, its last layer gives two scores."""

    def forward(self, x):
        return self.fc(self.conv2(self.conv1(x)).mean((2, 3)))


def test_other_convolutions_of_one_geometry_are_not_told():
    block = TwoInARow(C=6, K=6, M=2, kernel_size=3)
    assert capture(network_of(nn.Sequential(block).eval(), random(1, 6, 9, 8))).refused == {}
    assert candidates(TwoInARow(C=6, K=6, M=2, S=2, kernel_size=3)) is not None
    block.fc = nn.Linear(6, 5)
    assert candidates(block) is None


def test_a_mixture_by_another_function_is_told():
    class Squared(Experts):
        def forward(self, x):
            return super().forward(x) ** 2

    captured = capture(network_of(nn.Sequential(Squared(kernel_size=3, S=3)).eval(), random(1, 6, 9, 8)))
    assert "computes something else" in captured.refused["0"].reason


@pytest.mark.parametrize("options", [{}, {"bias": None}, {"bias": "each"}, {"groups": 2}, {"stride": 2}], ids=str)
def test_condconv(options):
    assert proved(lively(SelfRouted(**options)), random(2, 6, 9, 8)).family == "condconv"


@pytest.mark.parametrize("sides", [(9, 9), (8, 8), (8, 9), (14, 28)], ids=str)
@pytest.mark.parametrize("options", [{}, {"kernel": 5, "stride": 2}, {"stride": 3}, {"K": 6, "groups": 6, "stride": 2}],
                         ids=str)  # fmt: skip
@pytest.mark.parametrize("same", [False, True])
def test_condconv_routed_from_outside(sides, options, same):
    module = lively(RoutedFromOutside(**options, same=same))
    operator = proved(module, random(2, 6, *sides), random(2, 4))
    assert operator.family == "condconv"
    assert not operator.attention.own


OMNI = {
    "all": {},
    "no norm": {"norm": False},
    "temperature": {"temperature": 31.0},
    "pointwise": {"kernel": 1, "padding": 0, "heads": ("channel", "filter", "kernel")},
    "depthwise": {"K": 6, "groups": 6, "heads": ("channel", "spatial", "kernel")},
    "grouped": {"groups": 2},
    "one kernel": {"M": 1, "heads": ("channel", "filter", "spatial")},
    "one size": {"C": 9, "K": 9, "M": 9},
    "bias": {"bias": True},
}


@pytest.mark.parametrize("name", OMNI)
def test_odconv(name):
    module = lively(OmniDimensional(**OMNI[name]))
    assert proved(module, random(2, OMNI[name].get("C", 6), 9, 8)).family == "odconv"


CONVOLUTIONS = st.fixed_dictionaries(
    {
        "K": st.integers(1, 5).map(lambda k: 2 * k),
        "C": st.integers(1, 4).map(lambda c: 2 * c),
        "kernel": st.integers(1, 4),
        "stride": st.integers(1, 3),
        "groups": st.integers(1, 2),
        "M": st.integers(2, 5),
    }
)
SIDES = st.tuples(st.integers(4, 13), st.integers(4, 13))


@settings(max_examples=20, deadline=None)
@given(sizes=CONVOLUTIONS, sides=SIDES, kind=st.sampled_from([MixedKernels, OmniDimensional, SelfRouted]))
def test_sizes(sizes, sides, kind):
    proved(lively(kind(**sizes)), random(2, sizes["C"], *sides))


@settings(max_examples=20, deadline=None)
@given(sizes=CONVOLUTIONS, sides=SIDES, same=st.booleans())
def test_sizes_routed_from_outside(sizes, sides, same):
    module = lively(RoutedFromOutside(**sizes, same=same))
    proved(module, random(2, sizes["C"], *sides), random(2, sizes["M"]))


IN_TUPLES = {"a tuple": lambda s: s[1:], "a list": lambda s: list(s[1:]), "with M": tuple, "a size": torch.Size}


@pytest.mark.parametrize("kept", IN_TUPLES)
@pytest.mark.parametrize("routed", [False, True])
def test_sizes_in_a_tuple(kept, routed):
    module = lively(SizesInATuple(IN_TUPLES[kept], routed=routed))
    args = (random(2, 6, 9, 8),) if routed else (random(2, 6, 9, 8), random(2, 4))
    assert proved(module, *args).family == "condconv"


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("routed", [False, True])
def test_kernels_that_are_matrices(kernel, routed):
    module = lively(KernelsAsMatrices(kernel=kernel, routed=routed))
    args = (random(2, 6, 9, 8),) if routed else (random(2, 6, 9, 8), random(2, 4))
    assert proved(module, *args).family == "condconv"
    module.kernel_size = 5
    assert isinstance(recognise(module, args), Refusal | None)


@pytest.mark.parametrize("routed", [False, True])
def test_sizes_that_nothing_says_are_told(routed):
    found = candidates(SizesInATuple(lambda sizes: {"sizes": sizes}, routed=routed))
    assert isinstance(found, Refusal)
    assert "its weights 'experts' (4, 432) may be 4 flat kernels, but no attribute says their sizes" in found.reason
    network = nn.Sequential(SizesInATuple(lambda _: None, routed=True))
    notes = capture(network_of(network.eval(), random(1, 6, 9, 8))).graph.notes
    assert any(note.startswith("'0' is exported as ordinary operators: its weights 'experts'") for note in notes)


class Weighing(nn.Module):
    """Two-dimensional weights, and no convolution."""

    def __init__(self):
        super().__init__()
        self.table, self.gate = nn.Parameter(torch.randn(4, 12)), nn.Linear(3, 4)

    def forward(self, x):
        return torch.softmax(self.gate(x), -1) @ self.table


def test_other_weights_are_not_told():
    assert candidates(Weighing()) is None


class MixedAfterwards(MixedKernels):
    """Something behind the mixture depends on the data."""

    def forward(self, x):
        y = super().forward(x)
        return y / y.abs().mean()


class NormedAttention(MixedKernels):
    def __init__(self):
        super().__init__()
        self.route.norm = nn.GroupNorm(1, 3)


REFUSED = {
    "softmax over the batch": (MixedKernels(axis=0), "computes something else"),
    "data dependent": (MixedAfterwards(), "computes something else"),
    "GroupNorm": (NormedAttention(), "route.norm is a GroupNorm: it depends on the data"),
    "a function of another kind": (MixedKernels(hidden="softsign"), "computes something else"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    module, reason = REFUSED[name]
    refusal = recognise(lively(module), (random(2, 6, 8, 8),))
    assert isinstance(refusal, Refusal)
    assert refusal.family == "dy_conv"
    assert reason in refusal.reason


@pytest.mark.parametrize(
    "module", [nn.Conv3d(3, 4, 3), nn.ConvTranspose3d(3, 4, 3), nn.LSTM(3, 4), nn.Bilinear(2, 3, 4)]
)
def test_others_are_none(module):
    assert candidates(module) is None


def test_nothing_is_shared():
    module = lively(MixedKernels())
    operator = proved(module, random(2, 6, 8, 8))
    before = operator.terms[0].bank.clone()
    with torch.no_grad():
        module.weight.zero_()
    assert torch.equal(operator.terms[0].bank, before)
    assert not operator.terms[0].bank.requires_grad
