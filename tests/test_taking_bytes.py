"""A captured network that takes bytes is the network behind its normalisation, padding included."""

import pytest
import torch
from torch import nn

from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.network import network_of
from dcd_deploy.lowering.raw_bytes import NOT_FOLDED, taking_bytes
from dcd_deploy.samples import raw_pictures

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def first(*layers: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*layers).double()


NETWORKS = {
    "padded by zeros": (first(nn.Conv2d(3, 4, 3, padding=1, stride=2), nn.ReLU()), True),
    "not padded": (first(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU()), True),
    "padded otherwise": (first(nn.Conv2d(3, 4, 5, padding=2, padding_mode="reflect"), nn.ReLU()), True),
    "padded to the same size": (first(nn.Conv2d(3, 6, 3, padding="same", dilation=2, groups=3)), True),
    "followed by a norm": (first(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)), True),
    "no convolution": (first(nn.AvgPool2d(2), nn.Conv2d(3, 4, 3, padding=1)), False),
}


class Twice(nn.Module):
    """One convolution reads the picture, and a map of its own again."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return self.conv(torch.relu(self.conv(x)))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_fold_is_exact(name):
    network, folded = NETWORKS[name]
    found = exact(network.eval())
    assert (NOT_FOLDED in found.graph.notes) != folded
    assert any(node.target == "mul" for node in found.graph.nodes) != folded


def test_a_convolution_that_is_called_twice_is_changed_in_one_place():
    exact(Twice().double().eval())


def exact(network):
    captured = capture(network_of(network, torch.randn(1, 3, 16, 16, dtype=torch.float64)))
    found = taking_bytes(captured, MEAN, STD)
    picture = torch.from_numpy(raw_pictures((3, 16, 16))).double()
    mean, std = (torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1) for values in (MEAN, STD))
    with torch.no_grad():
        wanted = network((picture / 255 - mean) / std)
        (graphs,) = found.graph.module(picture)
        (itself,) = found.network.run(picture)
    for values in (graphs, itself):
        assert float((values - wanted).abs().max()) <= 1e-12 * float(wanted.max() - wanted.min())
    return found
