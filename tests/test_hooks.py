"""Forward hooks: left out where they only look on, followed where they matter, refused where no copy can have them."""

import numpy as np
import pytest
import torch
from capturing import assert_same
from dynamic_layers import lively
from foreign_networks import NETWORKS
from mixture_layers import OmniDimensional
from torch import nn

from dcd_deploy import export_module
from dcd_deploy.errors import CaptureError
from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.network import network_of
from dcd_deploy.runtimes import open_model

X, Z = torch.randn(2, 1, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def test_those_that_look_on_are_left_out():
    module, example = NETWORKS["grey"]()
    seen = []
    module.stem.register_forward_hook(lambda *_: seen.append(1))
    network = network_of(module, example)
    assert "left out, which change no output: stem" in next(note for note in network.notes if "hooks" in note)
    assert_same(capture(network).graph, network)
    assert len(module.stem._forward_hooks) == 1


def test_those_that_change_an_output_are_followed():
    module, example = NETWORKS["grey"]()
    plain = network_of(module, example)
    module.stem.register_forward_hook(lambda _module, _inputs, output: 2 * output)
    network = network_of(module, example)
    assert "are part of what it computes, and were followed: stem" in next(n for n in network.notes if "hooks" in n)
    assert_same(capture(network).graph, network)
    assert not all(torch.allclose(a, b) for a, b in zip(plain.answers, network.answers, strict=True))


class Features(nn.Module):
    """Reads the map that a hook noted: "bound" as timm has it, "closed" over the module as notebooks have it."""

    def __init__(self, way: str, watched: nn.Module):
        super().__init__()
        self.stem, self.watched, self.head = nn.Conv2d(3, 8, 3), watched, nn.Conv2d(8, 8, 1)
        self.kept = {}
        self.watched.register_forward_hook(
            self.keep if way == "bound" else lambda *given: self.kept.__setitem__("map", given[2])
        )

    def keep(self, _module, _inputs, output):
        self.kept["map"] = output

    def forward(self, x):
        y = self.head(torch.relu(self.watched(self.stem(x))))
        return y + self.kept["map"]


def features(way, watched):
    torch.manual_seed(0)
    return Features(way, watched).float().eval()


@pytest.mark.parametrize("run_before", [False, True])
@pytest.mark.parametrize("dynamic", [False, True])
def test_what_they_note_is_followed(tmp_path, dynamic, run_before):
    net = features("bound", lively(OmniDimensional(8, 8)) if dynamic else nn.Conv2d(8, 8, 3, padding=1))
    if run_before:
        with torch.no_grad():
            net(3 * X)
    made = export_module(net, X, out=tmp_path)
    with torch.no_grad():
        right = net(Z).numpy()
    assert np.abs(open_model(made.artifact.path).run(Z.numpy()) - right).max() <= 1e-5 * np.ptp(right)
    assert not dynamic or list(made.built.lowering) == ["watched"]


@pytest.mark.parametrize("run_before", [False, True])
def test_those_that_write_to_the_module_itself_are_refused(tmp_path, run_before):
    """Its copy, which is exported, would read what was noted once, or nothing."""
    net = features("closed", nn.Conv2d(8, 8, 3, padding=1))
    if run_before:
        with torch.no_grad():
            net(3 * X)
    with pytest.raises(CaptureError, match="its forward hooks may write to what they were made with"):
        export_module(net, X, out=tmp_path)
    assert list(tmp_path.iterdir()) == []
