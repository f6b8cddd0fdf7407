"""The published decomposition and its variations: recognised by what they hold, proved equal, else refused in words."""

import pytest
import torch.nn.functional as F
from dynamic_layers import (
    AttentionApart,
    Decomposed,
    DecomposedFromOutside,
    DecomposedLine,
    DecomposedNameless,
    DecomposedOtherwiseNamed,
    DecomposedVector,
    FrozenNorm,
    NormsBesideTheirConvolutions,
    PhiVaries,
    ScaledAfterTheSum,
    SqueezedByConvolutions,
    WideQuery,
    lively,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from proving import proved, random
from torch import nn

from dcd_deploy.dynamic.recognise import Refusal, candidates, recognise

VARIATIONS = {
    "as published": {},
    "3x3, stride 2": {"kernel": 3, "stride": 2, "pool": 2},
    "3x1": {"kernel": (3, 1)},
    "dilated": {"kernel": 3, "dilation": 2},
    "padding said": {"kernel": 3, "padding": "same"},
    "biases": {"bias": True, "part_bias": True},
    "no norms": {"norms": ()},
    "bn1 alone": {"norms": (1,)},
    "bn2 alone, no + q": {"norms": (2,), "plus_query": False},
    "no + q": {"plus_query": False},
    "no norms, no + q": {"norms": (), "plus_query": False},
    "pool by its sizes": {"pool": 2, "holds_pool": False},
    "pool of 3": {"pool": 3, "holds_pool": False},
    "eps": {"eps": 1e-1},
    "dropout": {"dropout": 0.5},
    "masked": {"mask": True},
    "a norm behind the sum": {"out_norm": True},
    "no gate on the squeeze": {"weigh": False},
    "frozen norms": {"norm": FrozenNorm},
    "running instance norms": {"norm": lambda L, eps: nn.InstanceNorm1d(L, eps, affine=True, track_running_stats=True)},
}


@pytest.mark.parametrize("name", VARIATIONS)
def test_variations(name):
    proved(lively(Decomposed(**VARIATIONS[name])), random(2, 6, 9, 11))


class ActivatedOutside(nn.Sequential):
    """A squeeze whose activation is a function."""

    def forward(self, x):
        return F.silu(super().forward(x))


def test_an_activation_of_the_squeeze_that_no_part_holds():
    module = Decomposed(weigh=False)
    module.fc = ActivatedOutside(*module.fc)
    operator = proved(lively(module), random(2, 6, 9, 11))
    assert [stage.activation.name for stage in operator.attention.stages] == ["silu"]


@pytest.mark.parametrize("held", [True, False], ids=["gate held", "gate in the forward"])
@pytest.mark.parametrize("gate", ["third", "sixth", "hard", "sigmoid"])
def test_gates(gate, held):
    operator = proved(lively(Decomposed(gate=gate, held=held)), random(2, 6, 9, 11))
    name = {"third": "hardsigmoid", "sixth": "hardsigmoid", "hard": "hardsigmoid"}.get(gate, "sigmoid")
    activation = operator.attention.heads["scale"].activation
    assert (activation.name, activation.gain) == (name, 2.0 if gate == "third" else 1.0)


@pytest.mark.parametrize("kind", [DecomposedOtherwiseNamed, DecomposedNameless])
@pytest.mark.parametrize("sizes", [{}, {"C": 4, "K": 4, "L": 2, "S": 4}, {"C": 4, "K": 4, "L": 4, "S": 4}], ids=str)
def test_names(kind, sizes):
    proved(lively(kind(**sizes)), random(2, sizes.get("C", 6), 8, 8))


@pytest.mark.parametrize("module", [NormsBesideTheirConvolutions(kernel=3), SqueezedByConvolutions(), AttentionApart()])
def test_other_parts(module):
    proved(lively(module), random(2, 6, 9, 11))


def test_norms_that_the_sizes_do_not_tell_apart():
    """As many channels in as out and inside: the proof finds which norm stands where, against their names."""
    module = Decomposed(C=4, K=4, L=4, norms=(1,), out_norm=True)
    module.bn1, module.bn_out = nn.BatchNorm1d(4), nn.BatchNorm2d(4)
    proved(lively(module), random(2, 4, 9, 11))


@pytest.mark.parametrize(
    ("part", "replacement", "reason"),
    [
        ("fc_phi", nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 9)), "fc_phi is a Sequential"),
        ("fc_phi", nn.Linear(5, 8), "fc_phi makes 8 values"),
        ("avg_pool", nn.AdaptiveMaxPool2d(1), "pools by averages"),
        ("p", nn.Conv2d(3, 10, 3, padding=1), "p is 3×3"),
        ("q", nn.Conv2d(6, 3, 1, stride=2), "q has stride"),
        ("conv", nn.ConvTranspose2d(6, 10, 1), "conv is a ConvTranspose2d"),
        ("fc", nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5)), "fc.1 is a LayerNorm: it depends on the data"),
        ("fc", nn.Sequential(nn.Linear(6, 5), nn.PReLU()), "fc.1 is nothing that the canonical attention holds"),
        ("fc_scale", nn.Identity(), "fc_scale is an Identity"),
    ],
)
def test_parts_outside_the_operator(part, replacement, reason):
    module = Decomposed()
    setattr(module, part, replacement)
    refusal = recognise(module, (random(2, 6, 8, 8),))
    assert isinstance(refusal, Refusal)
    assert reason in refusal.reason


def test_one_dimension():
    assert "conv is a Conv1d: the canonical operator is a 2-D convolution" in candidates(DecomposedLine()).reason


def test_other_padding():
    module = Decomposed(kernel=3)
    module.conv.padding_mode = "reflect"
    module.conv._reversed_padding_repeated_twice = [1, 1, 1, 1]
    proved(lively(module), random(2, 6, 9, 11))


def test_classifier():
    assert proved(lively(DecomposedVector()), random(3, 12)).geometry.vector
    proved(lively(DecomposedVector(bias=False, plus_query=False, gate="sigmoid")), random(3, 12))


def test_attention_to_another_map():
    module = lively(DecomposedFromOutside(pool=2))
    operator = proved(module, random(2, 6, 9, 11), random(2, 6, 5, 4))
    assert not operator.attention.own


SIZES = {"C": st.integers(1, 9), "K": st.integers(1, 9), "L": st.integers(1, 4), "S": st.integers(1, 6)}
CONVOLUTION = {"kernel": st.sampled_from([1, 3, (3, 1)]), "stride": st.integers(1, 3), "dilation": st.integers(1, 2)}
HABITS = {
    "pool": st.integers(1, 2),
    "gate": st.sampled_from(["third", "sixth", "hard", "sigmoid"]),
    "norms": st.sampled_from([(), (1,), (2,), (1, 2)]),
    **{name: st.booleans() for name in ("plus_query", "held", "bias", "part_bias", "out_norm", "holds_pool", "weigh")},
}


@settings(max_examples=60, deadline=None)
@given(
    options=st.fixed_dictionaries(SIZES | CONVOLUTION | HABITS),
    sides=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    seed=st.integers(0, 99),
)
def test_sizes_and_habits(options, sides, seed):
    proved(lively(DecomposedOtherwiseNamed(**options), seed), random(2, options["C"], *sides))


REFUSED = {
    "λ after the sum": (ScaledAfterTheSum(), "computes something else"),
    "GroupNorm": (
        Decomposed(norm=lambda L, eps: nn.GroupNorm(1, L, eps)),
        "bn1 is a GroupNorm: it depends on the data",
    ),
    "no statistics": (
        Decomposed(norm=lambda L, eps: nn.BatchNorm1d(L, track_running_stats=False)),
        "keeps no running statistics",
    ),
    "q 3x3": (WideQuery(), "q is 3×3"),
    "phi varies": (PhiVaries(), "computes something else"),
    "not the same size": (Decomposed(kernel=3, padding=0), "padding"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    module, reason = REFUSED[name]
    refusal = recognise(lively(module), (random(2, 6, 8, 8),))
    assert isinstance(refusal, Refusal)
    assert refusal.family == "dcd"
    assert reason in refusal.reason


class Around(nn.Module):
    """Holds a dynamic layer, and is none itself."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm = AttentionApart(), nn.BatchNorm2d(10)


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(3, 4, 3),
        nn.Sequential(Decomposed()),
        Around(),
        nn.MultiheadAttention(8, 2),
        nn.Linear(3, 4),
        nn.ReLU(),
    ],
)
def test_others_are_none(module):
    assert candidates(module) is None
