"""Graphs that were captured, beside the modules that they are of."""

import torch
from torch import nn

from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.network import network_of


class Calling(nn.Module):
    """A module that is one function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def captured_of(module, *example):
    return capture(network_of(module, example))


def outputs(graph, examples):
    with torch.no_grad():
        return graph.module(*examples)


def assert_same(graph, network, examples=None):
    examples = examples or network.examples
    for ours, theirs in zip(outputs(graph, examples), network.run(*examples), strict=True):
        span = theirs.abs().max() if theirs.numel() == 1 else theirs.max() - theirs.min()  # one number has no range
        assert float((ours - theirs).abs().max()) <= 1e-11 * float(span)
