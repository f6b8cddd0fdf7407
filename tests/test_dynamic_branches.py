"""The published decomposition whose heads stand in modules of their own: with their gate, or as two branches."""

import pytest
import torch
import torch.nn.functional as F
from dynamic_layers import Decomposed, lively
from proving import proved, random
from torch import nn

from dcd_deploy.dynamic.recognise import Refusal, candidates, recognise
from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.network import network_of


class OwnNames(nn.Module):
    """DCD as somebody writes it who does not know the published names; ``heads(sizes)`` gives what makes Φ and λ."""

    def __init__(self, heads, C=6, K=10, L=3, S=5, pool=1, **conv):
        super().__init__()
        self.w0 = nn.Conv2d(C, K, 1, bias=False, **conv)
        self.P, self.Q = nn.Conv2d(L, K, 1, bias=False), nn.Conv2d(C, L, 1, bias=False, **conv)
        self.b1, self.b2 = nn.BatchNorm2d(L), nn.BatchNorm2d(L)
        parts = heads(C * pool * pool, S, L * L, K)
        self.fc, self.fp, self.fs = [nn.Identity(), *parts][-3:]
        self.L, self.pool, self.shift = L, pool, 0.0

    def forward(self, x):
        a = self.fc(F.adaptive_avg_pool2d(x, self.pool).flatten(1))
        q = self.b1(self.Q(x))
        mixed = (self.fp(a).view(-1, self.L, self.L) @ q.flatten(2)).view(q.shape)
        y = self.fs(a)[:, :, None, None] * self.w0(x) + self.P(self.b2(mixed) + q)
        return y + self.shift * x.mean()


class Branch(nn.Module):
    """Two layers, and a function of torch between them."""

    def __init__(self, C, S, outputs):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(C, S), nn.Linear(S, outputs)

    def forward(self, a):
        return self.fc2(F.silu(self.fc1(a)))


def shared(C, S, square, K):
    squeeze = nn.Sequential(nn.Linear(C, S), nn.ReLU())
    return squeeze, nn.Linear(S, square), nn.Sequential(nn.Dropout(), nn.Linear(S, K), nn.Hardsigmoid())


def both_heads(C, S, square, K):
    squeeze = nn.Sequential(nn.Linear(C, S), nn.ReLU())
    return squeeze, nn.Sequential(nn.Linear(S, square), nn.Dropout()), nn.Sequential(nn.Linear(S, K), nn.Sigmoid())


def two(C, S, square, K):
    scale = nn.Sequential(nn.Linear(C, S), nn.ReLU(), nn.Linear(S, K), nn.Hardsigmoid())
    return nn.Sequential(nn.Linear(C, S), nn.ReLU(), nn.Linear(S, square)), scale


def two_with_norms(C, S, square, K):
    phi = nn.Sequential(nn.Linear(C, S, bias=False), nn.BatchNorm1d(S), nn.ReLU6(), nn.Linear(S, square))
    return phi, nn.Sequential(nn.Linear(C, 2 * S), nn.ReLU6(), nn.Linear(2 * S, K, bias=False), nn.Sigmoid())


def two_of_three_layers(C, S, square, K):
    def branch(outputs):
        return [nn.Linear(C, S), nn.ReLU(), nn.Linear(S, S + 1), nn.Tanh(), nn.Linear(S + 1, outputs)]

    return nn.Sequential(*branch(square)), nn.Sequential(*branch(K), nn.Sigmoid())


def two_in_modules(C, S, square, K):
    return Branch(C, S, square), nn.Sequential(Branch(C, S, K), nn.Sigmoid())


HEADS = [shared, both_heads, two, two_with_norms, two_of_three_layers, two_in_modules]


@pytest.mark.parametrize("options", [{}, {"pool": 2, "stride": 2}, {"C": 4, "K": 4, "L": 2, "S": 4}], ids=str)
@pytest.mark.parametrize("heads", HEADS)
def test_heads_in_modules_of_their_own(heads, options):
    module = lively(OwnNames(heads, **options))
    assert proved(module, random(2, options.get("C", 6), 9, 8)).family == "dcd"


@pytest.mark.parametrize("heads", HEADS)
def test_such_heads_of_another_function_are_told(heads):
    module = lively(OwnNames(heads))
    module.shift = 1.0
    refusal = recognise(module, (random(2, 6, 9, 8),))
    assert isinstance(refusal, Refusal)
    assert "computes something else" in refusal.reason


def deeper(C, S, square, K):
    return two(C, S, square, K)[0], two_of_three_layers(C, S, square, K)[1]


def of_other_functions(C, S, square, K):
    return two(C, S, square, K)[0], two_with_norms(C, S, square, K)[1]


@pytest.mark.parametrize("heads", [deeper, of_other_functions])
def test_branches_that_differ_are_told(heads):
    network = nn.Sequential(lively(OwnNames(heads)).float())
    (note,) = capture(network_of(network.eval(), random(1, 6, 9, 8).float())).refused.values()
    assert note.reason == "fp and fs are branches of different inputs, layers or functions"


def test_a_gate_that_is_no_function_of_ours_is_none():
    module = OwnNames(shared)
    module.fs = nn.Sequential(nn.Linear(5, 10), nn.PReLU())
    assert candidates(module) is None


def test_convolutions_beside_two_branches_of_other_sizes_are_none():
    module = OwnNames(two)
    module.fp[2] = nn.Linear(5, 8)
    assert candidates(module) is None


def test_the_published_heads_keep_their_reading():
    module = lively(Decomposed())
    assert proved(module, random(2, 6, 9, 8)).attention.heads["phi"].weight.shape == torch.Size((9, 5))
