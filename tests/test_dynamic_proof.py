"""A proof runs the module without a trace of it, and refuses in words what trying cannot judge."""

import copy

import pytest
import torch
import torch.nn.functional as F
from dynamic_layers import Decomposed, DecomposedOtherwiseNamed, lively
from mixture_layers import MixedKernels
from proving import assert_equal, proved, random
from torch import nn
from torch.nn.utils import parametrizations, prune

from dcd_deploy.dynamic.canonical import CanonicalLayer
from dcd_deploy.dynamic.operator import DynamicOperator
from dcd_deploy.dynamic.recognise import Refusal, candidates, recognise

X = random(2, 6, 9, 8)


class Noisy(Decomposed):
    def forward(self, x):
        return super().forward(F.dropout(x, 0.1))  # in eval mode too


class Counting(Decomposed):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


class Forgetful(Decomposed):
    """Depends on how often it was called."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) * self.calls


class Branching(Decomposed):
    def forward(self, x):
        y = super().forward(x)
        return y if x.mean() < 1 else -y


class Uncapped(Decomposed):
    """Its gate is the known one on small inputs alone."""

    def __init__(self):
        super().__init__(held=False)

    def attention(self, x):
        phi, _ = super().attention(x)
        a = self.fc(self.avg_pool(x).flatten(1))
        return phi, F.relu(self.fc_scale(a) + 3) / 3


class Two(Decomposed):
    def forward(self, x):
        return super().forward(x), x


class AcrossTheBatch(Decomposed):
    def attention(self, x):
        return super().attention(x.mean(0, keepdim=True).expand_as(x))


class InSinglePrecision(Decomposed):
    def forward(self, x):
        return super().forward(x.float().to(x.dtype))


class Failing(Decomposed):
    def forward(self, x):
        raise KeyError("no such thing")


REFUSED = {
    "random": (Noisy, "random"),
    "a buffer that counts": (Counting, "changes its own 'calls'"),
    "other answers later": (Forgetful, "random, or changes its state"),
    "control flow on the data": (Branching, "computes something else"),
    "saturates otherwise": (Uncapped, "computes something else"),
    "two outputs": (Two, "its output is a tuple"),
    "mixes samples": (AcrossTheBatch, "computes something else"),
    "fails": (Failing, "KeyError"),
}


def test_a_precision_that_forward_names_is_none_of_the_proofs():
    assert isinstance(recognise(lively(InSinglePrecision()), (X,)), DynamicOperator)


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    kind, reason = REFUSED[name]
    refusal = recognise(lively(kind()), (X,))
    assert isinstance(refusal, Refusal)
    assert reason in refusal.reason
    assert "\n" not in refusal.reason


def test_the_figure_is_told():
    refusal = recognise(lively(Branching()), (X,))
    assert "of its output's range (allowed: 1e-10)" in refusal.reason


class Near(Decomposed):
    """A layer but for more than any rounding."""

    def forward(self, x):
        return super().forward(x) * (1 + 1e-9)


def test_what_is_near_but_no_rounding_is_refused():
    refusal = recognise(lively(Near(), 1), (X,))
    assert isinstance(refusal, Refusal)
    assert "computes something else" in refusal.reason


def test_an_output_of_one_value_that_cancels():
    """Of one value there is no range, and where it cancels its roundings are many of it."""
    sizes = {"C": 9, "K": 1, "L": 1, "S": 2, "kernel": (3, 1), "stride": 2, "dilation": 2, "pool": 2}
    habits = dict.fromkeys(("plus_query", "held", "bias", "part_bias", "out_norm", "holds_pool", "weigh"), False)
    proved(lively(DecomposedOtherwiseNamed(**sizes, **habits, norms=()), 0), random(2, 9, 2, 2))


def test_foreign_hooks_are_refused():
    module = lively(Decomposed())
    handle = module.q.register_forward_hook(lambda *_: None)
    refusal = recognise(module, (X,))
    assert "'q' has a forward hook" in refusal.reason
    handle.remove()
    module.register_forward_hook(lambda *_: None)
    proved(module, X)
    module.register_forward_hook(lambda _module, _inputs, output: 2 * output)
    assert "of its output's range" in recognise(module, (X,)).reason


@pytest.mark.parametrize("part", ["conv", "fc_phi", "q"])
def test_pruned(part):
    module = lively(Decomposed())
    prune.random_unstructured(getattr(module, part), "weight", 0.5)
    module(X)  # leaves a weight that torch itself cannot copy
    operator = proved(module, X)
    assert operator.family == "dcd"


def test_pruned_kernels():
    module = lively(MixedKernels())
    prune.random_unstructured(module, "weight", 0.5)
    assert int((proved(module, X).terms[0].bank == 0).sum()) == module.weight.numel() // 2


def test_parametrised():
    module = lively(Decomposed(kernel=3))
    parametrizations.weight_norm(module.conv)
    parametrizations.spectral_norm(module.fc_scale)
    module.train()
    with torch.no_grad():
        module(X)
    before = copy.deepcopy(module.state_dict())
    operator = recognise(module, (X,))
    assert isinstance(operator, DynamicOperator), operator
    assert all(torch.equal(tensor, before[key]) for key, tensor in module.state_dict().items())
    proved(module.eval(), X)


@pytest.mark.parametrize("training", [True, False])
def test_nothing_changes(training):
    module = lively(Decomposed(dropout=0.5)).float().train(training)
    before = copy.deepcopy(module.state_dict())
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    operator = recognise(module, (X.float(),))
    assert isinstance(operator, DynamicOperator), operator
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_default_dtype() == torch.float32
    assert module.training == module.conv.training == training
    assert all(torch.equal(tensor, before[key]) for key, tensor in module.state_dict().items())
    assert all(tensor.dtype == before[key].dtype for key, tensor in module.state_dict().items())


def test_half_precision():
    module = lively(Decomposed())
    halved = copy.deepcopy(module).half()
    operator = recognise(halved, (X.half(),))
    assert isinstance(operator, DynamicOperator), operator
    exact = halved.double()
    assert_equal(CanonicalLayer(operator)(X), exact(X))


def test_a_forward_of_its_own_instance():
    module = lively(Decomposed())
    plain = module.forward
    module.forward = lambda x: plain(x) + 1
    refusal = recognise(module, (X,))
    assert isinstance(refusal, Refusal)


class PoolsByWindow(Decomposed):
    """Global by luck: its window is the map that the network has there."""

    def __init__(self):
        super().__init__(holds_pool=False)
        self.avgpool = nn.AvgPool2d(7)

    def attention(self, x):
        a = self.fc(self.avgpool(x).flatten(1))
        return self.fc_phi(a).view(-1, self.dim, self.dim), self.hs(self.fc_scale(a))


def test_a_window_of_the_size_of_the_map():
    module = lively(PoolsByWindow())
    proved(module, random(2, 6, 7, 7))
    assert isinstance(recognise(module, (random(2, 6, 13, 13),)), Refusal)  # sees a corner
    assert isinstance(recognise(module, (random(2, 6, 14, 14),)), Refusal)


def test_weights_without_values():
    with torch.device("meta"):
        module = Decomposed()
    assert "no values" in candidates(module).reason
    assert candidates(nn.LazyConv2d(3, 3)) is None
    assert candidates(nn.Conv2d(3, 3, 3, device="meta")) is None


@pytest.mark.parametrize("args", [(torch.ones(2, 6, 9, 8, dtype=torch.int64),), (X, X), (X[0],), (X[:, :3],), ("x",)])
def test_arguments_that_do_not_fit(args):
    assert isinstance(recognise(lively(Decomposed()), args), Refusal)
