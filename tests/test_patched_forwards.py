"""A forward that was put on a module itself: exported where a copy can follow it, else refused by its cause."""

import functools
import types

import pytest
import torch
from torch import nn

from dcd_deploy.errors import CaptureError
from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.network import network_of

X = torch.randn(1, 3, 6, 6)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.conv(x)


NET = Net()  # what functions of a script read as a global name
RELU = torch.relu
conv = NET.conv  # no function here reads this name; some have an attribute of it


def by_a_closure(net):
    net.forward_orig = net.forward
    return lambda x: net.forward_orig(x) * 2


def by_a_bound_method(net):
    before = net.forward

    @functools.wraps(before)
    def forward(x):
        return before(x) * 2

    return forward


def by_a_function_within(net):
    def inner(x):
        return net.conv(x) * 2

    return lambda x: inner(x) + 1


def by_a_global_name(net):
    return lambda x: NET.conv(x) * 2


HOLDING = (by_a_closure, by_a_bound_method, by_a_function_within, by_a_global_name)


@pytest.mark.parametrize("make", HOLDING)
@pytest.mark.parametrize("below", [False, True], ids=["the network", "a part of it"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_holds_on_to_the_module_is_refused_by_its_cause(make, below, dtype):
    net = NET if make is by_a_global_name else Net()
    net.forward = make(net)
    whole = nn.Sequential(net) if below else net
    try:
        with pytest.raises(CaptureError, match="a Net,? with a function in its place that holds on to the module") as e:
            network_of(whole.to(dtype).eval(), X)
        assert ("'0', a Net" in str(e.value)) == below
        assert "plain lists" not in str(e.value)
    finally:
        del net.forward


def of_its_own(net):
    return types.MethodType(lambda self, x: self.conv(x) * 2, net)


def partly(net):
    return functools.partial(lambda self, x: self.conv(x) * 2, net)


def without_the_module(net):
    empty = None
    if net is None:
        unset = 1
    return lambda x: RELU(x[:, :1]) if x is not empty else (unset, x.conv)


@pytest.mark.parametrize("make", [of_its_own, partly, without_the_module])
@pytest.mark.parametrize("below", [False, True], ids=["the network", "a part of it"])
def test_what_a_copy_can_follow_is_taken(make, below):
    net = Net().eval()
    net.forward = make(net)
    network = network_of(nn.Sequential(net) if below else net, X)
    with torch.no_grad():
        wanted = net(X)
    (found,) = capture(network).graph.module(X.double())
    assert torch.allclose(found.float(), wanted, atol=1e-6)
    assert torch.allclose(network.answers[0].float(), wanted, atol=1e-6)


def test_tensors_in_plain_lists_are_still_called_so():
    class Listed(Net):
        def __init__(self):
            super().__init__()
            self.parts = [nn.Conv2d(3, 4, 1)]

        def forward(self, x):
            return self.parts[0](x)

    with pytest.raises(CaptureError, match="layers or tensors in plain lists stay as they are"):
        network_of(Listed().eval(), X)
