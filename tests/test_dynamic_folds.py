"""The exact folds, on an operator of every family: a norm behind it, gains of activations, the static twin."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from dynamic_layers import Decomposed, DecomposedFromOutside, DecomposedVector, lively
from hypothesis import given, settings
from hypothesis import strategies as st
from mixture_layers import MixedKernels, OmniDimensional, RoutedFromOutside, SelfRouted
from proving import assert_equal, proved, random
from torch import nn

from dcd_deploy.dynamic.attention import Activation
from dcd_deploy.dynamic.canonical import CanonicalLayer
from dcd_deploy.dynamic.folds import affine, static_twin, with_norm, without_gains

X = random(3, 6, 9, 8)
LAYERS = {
    "dcd": (Decomposed(kernel=3, pool=2), X),
    "dcd, biases": (Decomposed(bias=True, part_bias=True, stride=2), X),
    "dcd, no squeeze gate": (Decomposed(weigh=False), X),
    "dcd, another map": (DecomposedFromOutside(), X, random(3, 6, 5, 5)),
    "dcd, vector": (DecomposedVector(), random(3, 12)),
    "dy_conv": (MixedKernels(), X),
    "dy_conv, depthwise": (MixedKernels(K=6, groups=6, stride=2), X),
    "condconv": (SelfRouted(bias="one"), X),
    "condconv, from outside": (RoutedFromOutside(kernel=5, stride=2, same=True), X, random(3, 4)),
    "odconv": (OmniDimensional(bias=True), X),
    "odconv, grouped": (OmniDimensional(groups=2), X),
}


@pytest.fixture(params=LAYERS, scope="module")
def layer(request):
    """A module, its operator and its arguments."""
    module, *args = LAYERS[request.param]
    return lively(module), proved(module, *args), args


def norm_behind(operator):
    return lively((nn.BatchNorm1d if operator.geometry.vector else nn.BatchNorm2d)(operator.geometry.K, eps=1e-2))


def test_a_norm_behind(layer):
    module, operator, args = layer
    norm = norm_behind(operator)
    assert_equal(CanonicalLayer(with_norm(operator, *affine(norm)))(*args), norm(module(*args)))


def test_without_gains(layer):
    module, operator, args = layer
    plain = without_gains(operator)
    assert_equal(CanonicalLayer(plain)(*args), module(*args))
    attention = plain.attention
    activations = [one.activation for one in (*attention.stages, *attention.heads.values()) if one is not None]
    assert all(one.gain == 1.0 for one in activations)


def test_norm_and_gains_in_either_order(layer):
    _, operator, args = layer
    norm = affine(norm_behind(operator))
    one, other = with_norm(without_gains(operator), *norm), without_gains(with_norm(operator, *norm))
    assert_equal(CanonicalLayer(one)(*args), CanonicalLayer(other)(*args))


def test_the_static_twin(layer):
    """A plain convolution by it equals the layer whose heads are held at their means."""
    _, operator, args = layer
    means = {}

    def hold(heads):
        means.update({name: values.mean(0) for name, values in heads.items()})
        return {name: values.mean(0).expand_as(values) for name, values in heads.items()}

    held = CanonicalLayer(operator)
    held.observe = hold
    expected = held(*args)
    weight, bias = static_twin(operator, means)
    g = operator.geometry
    if g.vector:
        found = F.linear(args[0], weight.flatten(1), bias)
    else:
        found = F.conv2d(args[0], weight, bias, g.stride, g.padding, g.dilation, g.groups)
    assert_equal(found, expected)
    assert not torch.allclose(expected, CanonicalLayer(operator)(*args))


@settings(max_examples=20, deadline=None)
@given(
    gains=st.lists(st.floats(0.1, 4), min_size=4, max_size=4),
    kind=st.sampled_from([Decomposed, MixedKernels, OmniDimensional]),
)
def test_any_gains(gains, kind):
    """Gains that no published layer has, on every stage and head."""
    operator = proved(lively(kind()), X)
    attention = operator.attention

    def gained(one, gain):
        return replace(one, activation=replace(one.activation, gain=gain))

    stages = tuple(gained(stage, gain) for stage, gain in zip(attention.stages, gains, strict=False))
    heads = {
        name: gained(attention.heads[name], gain) for name, gain in zip(attention.heads, gains[::-1], strict=False)
    }
    loud = replace(operator, attention=replace(attention, stages=stages, heads=heads))
    assert_equal(CanonicalLayer(without_gains(loud))(X), CanonicalLayer(loud)(X))


def test_a_gain_that_is_forgotten_is_seen():
    """The comparison above can fail."""
    operator = proved(lively(Decomposed()), X)
    scale = operator.attention.heads["scale"]
    assert scale.activation == Activation("hardsigmoid", 2.0)
    heads = {**operator.attention.heads, "scale": replace(scale, activation=Activation("hardsigmoid"))}
    wrong = replace(operator, attention=replace(operator.attention, heads=heads))
    with pytest.raises(AssertionError):
        assert_equal(CanonicalLayer(wrong)(X), CanonicalLayer(operator)(X))
