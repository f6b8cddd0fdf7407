"""Any head of any canonical layer is observed; one that does not matter is refused. torch's threads are kept calm."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from dynamic_layers import Decomposed, lively
from torch import Tensor, nn

from dcd_deploy.artifacts import OUTPUT
from dcd_deploy.dynamic.attention import Activation, Attention, Dense
from dcd_deploy.dynamic.canonical import CanonicalLayer
from dcd_deploy.dynamic.operator import ConvGeometry, DynamicOperator, Mixture
from dcd_deploy.errors import VerificationError
from dcd_deploy.export import alongside as threads
from dcd_deploy.export import free_cores
from dcd_deploy.export.checked_reference import CheckedReference
from dcd_deploy.export.reference import generated_reference
from dcd_deploy.export.telling import telling_tolerance
from dcd_deploy.export.truth import Sensitivity, TrainReference
from dcd_deploy.export.verify import new_report
from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.network import network_of
from dcd_deploy.samples import InputSpec

INPUT = (InputSpec("input", (4, 9, 7)),)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def layer(filters: float = 1.0) -> CanonicalLayer:
    """A mixture of three kernels whose filters are scaled by a second head, which moves by ``filters``."""
    heads = {
        "kernels": Dense(random(3, 5), random(3), Activation("softmax")),
        "filters": Dense(filters * random(6, 5), random(6), Activation("sigmoid")),
    }
    attention = Attention((1, 1), (Dense(random(5, 4), random(5), Activation("relu")),), heads)
    return CanonicalLayer(
        DynamicOperator(
            "mixture", ConvGeometry(4, 6, (3, 3), padding=(1, 1)), attention, (Mixture(random(3, 6, 4, 3, 3)),)
        )
    )


class Network(nn.Module):
    def __init__(self, filters: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.stem, self.dynamic = nn.Conv2d(4, 4, 1).double(), layer(filters)

    def forward(self, x):
        return self.dynamic(self.stem(x)).mean((2, 3))


def test_heads_are_observed_by_their_names():
    network = Network().eval()
    reference = generated_reference(network, None, 5e-5, INPUT)
    found = reference.sensitivity
    assert found.variation.keys() == found.frozen.keys() == {"kernels", "filters"}
    assert all(layers.keys() == {"dynamic"} for layers in found.variation.values())
    assert min(found.frozen.values()) > 1e-3
    assert network.dynamic.observe is None, "as it was"
    assert new_report(reference, "inputs").passed is False
    apart = generated_reference(network, None, 5e-5, INPUT, canonical=Network().eval())
    assert apart.sensitivity == found


class Calling(nn.Module):
    """A published layer behind a static one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.dynamic = nn.Conv2d(4, 4, 1), Decomposed(C=4, K=4)

    def forward(self, x):
        return self.dynamic(self.stem(x)).mean((2, 3))


class CallingSampleBySample(Calling):
    def forward(self, x):
        return torch.cat([self.forward(one) for one in x.split(1)]) if len(x) > 1 else super().forward(x)


class CallingInVain(Calling):
    def forward(self, x):
        self.dynamic(0 * self.stem(x) + 1)
        return super().forward(x)


class CallingForward(Calling):
    """What torch.fx cannot follow, and a call that no hook sees."""

    def forward(self, x):
        x = self.stem(x) if x.shape[2] > 3 else x
        return (self.dynamic.forward(x) + self.dynamic(x + 1)).mean((2, 3))


@pytest.mark.parametrize("kind", [Calling, CallingSampleBySample, CallingInVain, CallingForward])
def test_heads_are_those_of_the_graph_however_the_network_calls_its_layers(kind):
    torch.manual_seed(0)
    found = capture(network_of(lively(kind()), torch.randn(1, 4, 9, 7), OUTPUT))
    assert found.operators
    graph = found.as_module()
    seen = generated_reference(found.network.module, None, 5e-5, INPUT, canonical=graph).sensitivity
    expected = generated_reference(graph, None, 5e-5, INPUT).sensitivity
    for head, effect in expected.frozen.items():
        assert seen.frozen[head] == pytest.approx(effect, rel=1e-9)
        assert list(seen.variation[head].values()) == pytest.approx(list(expected.variation[head].values()), rel=1e-9)


def test_a_network_that_calls_its_layers_as_its_graph_does_is_run_once():
    found = capture(network_of(lively(Calling()), torch.randn(1, 4, 9, 7), OUTPUT))
    graph, runs = found.as_module(), []
    graph.register_forward_pre_hook(lambda _, given: runs.append(len(given[0])))
    generated_reference(found.network.module, None, 5e-5, INPUT, canonical=graph)
    assert runs == [3, 3], "each of two heads frozen, on the inputs behind the first"


def test_a_head_that_stays_as_it_is_is_refused_by_its_name():
    reference = generated_reference(Network(filters=0.0).eval(), None, 5e-5, INPUT)
    assert max(reference.sensitivity.variation["filters"].values()) == 0
    with pytest.raises(VerificationError, match="do not exercise α of filters: freezing it moves"):
        new_report(reference, "inputs")


@pytest.mark.parametrize("activation", ["softmax", "identity"])
def test_the_share_of_a_single_kernel_is_no_head_that_could_stay(activation):
    """As published for ODConv; no input can move it."""
    network = Network().eval()
    operator = network.dynamic.operator
    (mixture,) = operator.terms
    heads = operator.attention.heads
    weight = heads["kernels"].weight[:1] if activation == "softmax" else torch.zeros(1, 5, dtype=torch.float64)
    share = Dense(weight, torch.ones(1, dtype=torch.float64), Activation(activation))
    attention = replace(operator.attention, heads={**heads, "kernels": share})
    one = replace(operator, attention=attention, terms=(replace(mixture, bank=mixture.bank[:1]),))
    network.dynamic = CanonicalLayer(one)
    reference = generated_reference(network, None, 5e-5, INPUT)
    assert set(reference.sensitivity.frozen) == set(reference.sensitivity.variation) == {"filters"}
    assert new_report(reference, "inputs").notes == ()


def held(effect: float, float32_error: float) -> CheckedReference:
    """A reference whose inputs move the outputs by ``effect`` through a head."""
    values = np.linspace(0.0, 1.0, 6).reshape(2, 3)
    sensitivity = Sensitivity({"phi": {"layer": 0.5}}, {"phi": effect})
    numbers = np.arange(2, dtype=np.float32)[:, None]
    reference = TrainReference((numbers,), {"logits": values}, sensitivity, float32_error)
    return CheckedReference(reference, new_report(reference, "inputs"), telling=telling_tolerance(reference, 5e-5))


@pytest.mark.parametrize(("effect", "limit"), [(1.0, 5e-5), (5e-4, 5e-5), (1.6e-4, 1.6e-5), (2e-5, 2e-6)])
def test_where_a_head_moves_the_outputs_little_files_are_held_to_less(effect, limit):
    checked = held(effect, 1e-7)
    assert [note for note in checked.report.notes if "are held to" in note] == list(checked.report.notes)
    assert bool(checked.report.notes) == (limit < 5e-5)
    answers = checked.reference.outputs["logits"]
    checked.compared("file", lambda given: [answers[given[0][:, 0].astype(int)] + limit * 0.99], 5e-5)
    with pytest.raises(VerificationError, match=f"within {limit:.1e}"):
        checked.compared("file", lambda given: [answers[given[0][:, 0].astype(int)] + limit * 1.01], 5e-5)


@pytest.mark.parametrize(("effect", "float32_error"), [(1e-5, 1e-8), (1.6e-4, 1e-5), (0.0, 0.0)])
def test_where_float32_cannot_tell_a_head_the_inputs_are_refused(effect, float32_error):
    with pytest.raises(VerificationError, match="do not exercise Φ: freezing it moves.*has seen a few batches"):
        held(effect, float32_error)


def test_without_dynamic_layers_it_is_said():
    reference = generated_reference(nn.Conv2d(4, 2, 1).double(), None, 5e-5, INPUT)
    assert reference.sensitivity is None
    assert "no dynamic layer" in new_report(reference, "inputs").notes[0]


@pytest.fixture
def spinning(monkeypatch):
    """A process whose threads spin, with four of them."""
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield monkeypatch
    torch.set_num_threads(before)


@pytest.mark.parametrize(("free", "used"), [(0, 1), (1, 1), (3, 3), (64, 4)])
def test_as_many_threads_as_free_cores(spinning, free, used):
    spinning.setattr(threads, "free_cores", lambda: free)
    with threads.threads_by_load():
        assert torch.get_num_threads() == used
        spinning.setattr(threads, "free_cores", lambda: 2)
        with threads.threads_by_load():
            assert torch.get_num_threads() == used
    assert torch.get_num_threads() == 4
    with pytest.raises(KeyError), threads.threads_by_load():
        raise KeyError
    assert torch.get_num_threads() == 4


def test_threads_that_do_not_spin_are_left_alone(spinning):
    spinning.setenv("OMP_WAIT_POLICY", "passive")
    spinning.setattr(threads, "free_cores", lambda: 0)
    with threads.threads_by_load():
        assert torch.get_num_threads() == 4


def test_free_cores(monkeypatch):
    assert 0 <= free_cores.free_cores() <= (os.cpu_count() or 1)
    looks = iter([{0: 100, 1: 100}, {0: 105, 1: 101}])
    monkeypatch.setattr(free_cores, "_idle_ticks", lambda: next(looks))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert free_cores.free_cores() == 1
    monkeypatch.setattr(free_cores, "_idle_ticks", dict)
    assert free_cores.free_cores() == 1, "where nothing tells"
