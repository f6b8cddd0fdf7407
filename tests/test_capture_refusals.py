"""Modules that cannot be captured, and passes that break their promise: refused in words."""

import pytest
import torch
from capturing import captured_of
from foreign_networks import ConvNorm, Grey, Segmenter, conv3
from torch import nn

from dcd_deploy.errors import CaptureError
from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.network import network_of
from dcd_deploy.lowering.passes.contract import ContractError, Pass, PassResult


@pytest.mark.parametrize(
    ("module", "example", "words"),
    [
        (lambda x: x, torch.zeros(1, 3, 8, 8), ["torch.nn.Module", "function"]),
        (Grey().eval(), torch.zeros(1, 3, 45, 61), ["(1, 3, 45, 61)", "in 'stem.layer'"]),
        (Segmenter().eval(), "picture", ["a tensor"]),
        (nn.Conv2d(3, 4, 1, device="meta"), torch.zeros(1, 3, 4, 4), ["meta"]),
    ],
)
def test_what_cannot_be_made_ready_is_refused(module, example, words):
    with pytest.raises(CaptureError) as refusal:
        network_of(module, example)
    assert all(word in str(refusal.value) for word in words)


def test_outputs_that_are_no_tensors_are_refused():
    class Texts(nn.Module):
        def forward(self, x):
            return {"map": x, "label": "cat"}

    with pytest.raises(CaptureError, match="found str at 'label'"):
        network_of(Texts(), torch.zeros(1, 3))


def test_control_flow_on_data_names_the_submodule():
    class Choosing(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sequential(Choosing())).eval()
    with pytest.raises(CaptureError) as refusal:
        captured_of(module, torch.ones(1, 3, 4, 4))
    assert "in '1.0'" in str(refusal.value)
    assert "control flow" in str(refusal.value)


def test_a_random_forward_is_refused():
    class Noisy(nn.Module):
        def forward(self, x):
            return x + torch.randn_like(x)

    with pytest.raises(CaptureError, match="random"):
        captured_of(Noisy().eval(), torch.ones(1, 3, 4, 4))


def test_a_pass_that_breaks_its_promise_is_caught():
    class Promising(Pass):
        name, reason = "promising", "to be caught"

        def apply(self, graph):
            return PassResult()

        def ensures(self, graph):
            return "no dropout, but one is left"

    graph = captured_of(ConvNorm(conv3(3, 4), 4).eval(), torch.randn(1, 3, 8, 8)).graph
    with pytest.raises(ContractError, match="promises: no dropout"):
        Promising()(graph)


def test_what_torch_prints_of_a_graph_that_it_cannot_follow_stays_away(capfd):
    class Choosing(nn.Module):
        def forward(self, x):
            return x if x.mean() > 0 else -x

    with pytest.raises(CaptureError, match="control flow"):
        capture(network_of(Choosing(), torch.randn(1, 3, 8, 8)))
    assert capfd.readouterr().err == ""


def test_lazy_layers_are_refused_by_name():
    with pytest.raises(CaptureError, match=r"lazy '0\.weight'"):
        network_of(nn.Sequential(nn.LazyConv2d(4, 3)), torch.randn(1, 3, 8, 8))
