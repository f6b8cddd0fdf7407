"""Graphs that were captured, beside the modules that they are of."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from dcd_deploy import export_module
from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.network import network_of
from dcd_deploy.runtimes import open_model


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


class ByExport(nn.Module):
    """torch.fx does not follow it, torch.export does."""

    def __init__(self, function):
        super().__init__()
        self.conv, self.function = nn.Conv2d(3, 4, 1), function

    def forward(self, x):
        if x.shape[2] % 2:
            x = F.pad(x, (0, 0, 0, 1))
        return self.function(self.conv(x))


def off_when_exported(network, x, out, **options):
    """Return how far the file of a network is from it, on the example."""
    result = export_module(network, x, out=out, **options)
    (found,) = open_model(result.artifact.path).run_all(x.numpy())
    return np.abs(found - network(x).detach().numpy()).max()
