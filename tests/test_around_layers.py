"""What people write around dynamic layers: DataParallel, a layer's tensors read from outside, casts, mixed bounds."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from capturing import Calling, assert_same
from dynamic_layers import lively
from mixture_layers import OmniDimensional
from torch import nn

from dcd_deploy import export_module
from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.network import network_of
from dcd_deploy.runtimes import open_model

X = torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))


class Around(nn.Module):
    def __init__(self, function=lambda _, y: y, wrap=lambda layer: layer):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.dy = nn.Conv2d(3, 6, 3), wrap(lively(OmniDimensional(6, 8)))
        self.dy.register_buffer("temperature", torch.tensor(3.0))
        self.function = function

    def forward(self, x):
        return self.function(self, self.dy(F.relu(self.stem(x))))


READING = {
    "a weight": lambda m, y: F.conv2d(y[:, :6], m.dy.weight[0], padding=1),
    "a weight, twice": lambda m, y: y * m.dy.weight.mean() + m.dy.weight.std(),
    "a buffer": lambda m, y: y / m.dy.temperature,
    "its attention": lambda m, y: (y, next(iter(m.dy.attention(y[:, :6]).values())).flatten(1)),
    "a number": lambda m, y: y.view(len(y), m.dy.stride, -1),
}


@pytest.mark.parametrize("what", READING)
def test_a_layer_of_which_something_is_read_outside(what):
    network = network_of(Around(READING[what]).eval(), X)
    found = capture(network)
    assert list(found.operators) == ["dy"]
    assert_same(found.graph, network)


@pytest.mark.parametrize("where", ["a layer", "the network"])
def test_data_parallel_is_seen_through(where):
    module = Around(wrap=nn.DataParallel) if where == "a layer" else nn.DataParallel(Around())
    found = capture(network_of(module.eval(), X))
    assert list(found.operators) == ["dy"]
    inner = module.dy if where == "a layer" else module
    assert isinstance(inner, nn.DataParallel), "the user's own is left as it is"


ORDINARY = {
    "half": lambda y: y.half().float(),
    "to float16": lambda y: y.to(torch.float16).to(torch.float32),
    "bfloat16": lambda y: y.bfloat16().float(),
    "clamp": lambda y: y.softmax(1).clamp(1e-7, 1),
    "torch.clip": lambda y: torch.clip(y, min=-0.5, max=1),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_precisions_and_bounds_of_two_kinds(tmp_path, name):
    """A norm that cannot be folded takes torch's other way to ONNX, in which mixed bounds have no word."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.BatchNorm2d(6), Calling(ORDINARY[name])).eval()
    model = open_model(export_module(net, X, out=tmp_path).artifact.path)
    with torch.no_grad():  # casts are left out, of the reference as of the file
        right = (net if name in ("clamp", "torch.clip") else net[:3]).double()(X.double()).numpy()
    assert np.abs(model.run(X.numpy()) - right).max() <= 5e-6 * np.ptp(right)
