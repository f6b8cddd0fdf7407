"""What goes to a process of ours: graphs that are the same there, and nothing of a user's own."""

import pickle

import pytest
import torch
from dynamic_layers import lively
from torch import fx, nn

from dcd_deploy.export.graph_pickle import pickled
from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.deploy import lower
from dcd_deploy.lowering.network import network_of
from dcd_deploy.lowering.targets import PORTABLE_ONNX


def test_a_graph_is_the_same_after_the_way():
    network = lively(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU6(), nn.Flatten(2)))
    deploy = lower(capture(network_of(network, torch.rand(1, 3, 9, 8))), PORTABLE_ONNX)
    again = pickle.loads(pickled(deploy.module))
    told = lambda graph: [(node.op, node.name, node.target, str(node.args)) for node in graph.nodes]  # noqa: E731
    assert told(again.graph) == told(deploy.module.graph)
    x = torch.rand(2, 3, 9, 8, dtype=torch.float64)
    assert torch.equal(again(x), deploy.module(x))
    assert not again.training


class Kept(nn.Module):
    """A user's own, of which a class that is imported anew would know nothing."""

    slope = 0.01

    def forward(self, x):
        return torch.where(x > 0, x, x * self.slope)


def doubled(x):
    return 2 * x


def test_what_is_a_users_own_is_not_sent():
    example = torch.rand(1, 3, 4, 4)
    with pytest.raises(pickle.PicklingError, match="Kept.* is neither torch's nor ours"):
        pickled(nn.Sequential(nn.ReLU(), Kept()))
    whole = lower(capture(network_of(nn.Sequential(nn.Conv2d(3, 2, 1), Kept()), example), leaf=["1"]), PORTABLE_ONNX)
    with pytest.raises(pickle.PicklingError, match="Kept"):
        pickled(whole)
    traced = fx.symbolic_trace(Kept())
    assert pickled(traced), "of torch's functions it is sent"
    next(node for node in traced.graph.nodes if node.op == "call_function").target = doubled
    with pytest.raises(pickle.PicklingError, match="doubled"):
        pickled(traced)
