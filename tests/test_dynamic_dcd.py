"""The published decomposition and its variations: recognised by what they hold, proved equal, else refused in words."""

import pytest
import torch
from dynamic_layers import (
    Decomposed,
    DecomposedFromOutside,
    DecomposedNameless,
    DecomposedOtherwiseNamed,
    DecomposedVector,
    PhiVaries,
    ScaledAfterTheSum,
    WideQuery,
    lively,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dcd_deploy.dynamic.canonical import CanonicalLayer
from dcd_deploy.dynamic.operator import DynamicOperator
from dcd_deploy.dynamic.recognise import Refusal, candidates, recognise


def proved(module, *args):
    operator = recognise(module, args)
    assert isinstance(operator, DynamicOperator), operator
    expected = module(*args)
    found = CanonicalLayer(operator)(*args)
    assert (found - expected).abs().max() <= 1e-12 * (expected.max() - expected.min())
    return operator


def x(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


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
    "running instance norms": {"norm": lambda L, eps: nn.InstanceNorm1d(L, eps, affine=True, track_running_stats=True)},
}


@pytest.mark.parametrize("name", VARIATIONS)
def test_variations(name):
    proved(lively(Decomposed(**VARIATIONS[name])), x(2, 6, 9, 11))


@pytest.mark.parametrize("held", [True, False], ids=["gate held", "gate in the forward"])
@pytest.mark.parametrize("gate", ["third", "sixth", "hard", "sigmoid"])
def test_gates(gate, held):
    operator = proved(lively(Decomposed(gate=gate, held=held)), x(2, 6, 9, 11))
    name = {"third": "hardsigmoid", "sixth": "hardsigmoid", "hard": "hardsigmoid"}.get(gate, "sigmoid")
    activation = operator.attention.heads["scale"].activation
    assert (activation.name, activation.gain) == (name, 2.0 if gate == "third" else 1.0)


@pytest.mark.parametrize("kind", [DecomposedOtherwiseNamed, DecomposedNameless])
@pytest.mark.parametrize("sizes", [{}, {"C": 4, "K": 4, "L": 2, "S": 4}, {"C": 4, "K": 4, "L": 4, "S": 4}], ids=str)
def test_names(kind, sizes):
    proved(lively(kind(**sizes)), x(2, sizes.get("C", 6), 8, 8))


def test_classifier():
    assert proved(lively(DecomposedVector()), x(3, 12)).geometry.vector
    proved(lively(DecomposedVector(bias=False, plus_query=False, gate="sigmoid")), x(3, 12))


def test_attention_to_another_map():
    module = lively(DecomposedFromOutside(pool=2))
    operator = proved(module, x(2, 6, 9, 11), x(2, 6, 5, 4))
    assert not operator.attention.own


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.fixed_dictionaries({"C": st.integers(1, 9), "K": st.integers(1, 9), "L": st.integers(1, 4)}),
    options=st.fixed_dictionaries(
        {
            "S": st.integers(1, 6),
            "kernel": st.sampled_from([1, 3]),
            "stride": st.integers(1, 3),
            "pool": st.integers(1, 2),
        }
    ),
    sides=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    seed=st.integers(0, 99),
)
def test_sizes(sizes, options, sides, seed):
    proved(lively(DecomposedOtherwiseNamed(**sizes, **options), seed), x(2, sizes["C"], *sides))


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
    refusal = recognise(lively(module), (x(2, 6, 8, 8),))
    assert isinstance(refusal, Refusal)
    assert refusal.family == "dcd"
    assert reason in refusal.reason


@pytest.mark.parametrize(
    "module", [nn.Conv2d(3, 4, 3), nn.Sequential(Decomposed()), nn.MultiheadAttention(8, 2), nn.Linear(3, 4), nn.ReLU()]
)
def test_others_are_none(module):
    assert candidates(module) is None
