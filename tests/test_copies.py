"""Reshapes share memory in LiteRT, whose plain kernels write into what they think is read no more."""

import numpy as np
import pytest
import torch
from capturing import Calling
from dynamic_layers import lively
from mixture_layers import OmniDimensional
from torch import nn

from dcd_deploy import export_module
from dcd_deploy.errors import VerificationError
from dcd_deploy.export.tflite import file as tflite_file
from dcd_deploy.export.tflite.summary import summarise_tflite
from dcd_deploy.runtimes import open_model

X = torch.randn(1, 3, 16, 15)
READ_LATER = {
    "the source": lambda y: torch.cat([(y.flatten(1) * 3).view_as(y).relu(), y.abs()], 1),
    "the result": lambda y: torch.cat([y * 3, (y.flatten(1).abs() + 1).view_as(y)], 1),
}


def network(end):
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.Tanh(), Calling(end), nn.Conv2d(8, 4, 1)).eval()


@pytest.mark.parametrize("end", READ_LATER)
@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_what_is_read_later_is_right(end, layout, tmp_path):
    """The gate runs LiteRT's plain kernels too."""
    made, x = network(READ_LATER[end]), X
    result = export_module(made, x, to="tflite", layout=layout, out=tmp_path)
    (found,) = open_model(result.artifact.path).run_all(x.numpy())
    assert np.abs(found - made(x).detach().numpy()).max() < 1e-5


class Branches(nn.Module):
    """MobileOne's block: a depthwise ODConv, whose groups are scaled apart, beside another convolution of the map."""

    def __init__(self):
        super().__init__()
        self.first, self.after = nn.Conv2d(3, 64, 1), nn.Conv2d(64, 64, 3, padding=1, groups=64)
        self.scale = OmniDimensional(64, 64, kernel=1, padding=0, groups=64)

    def forward(self, x):
        y = self.first(x)
        y = y + torch.tanh(y)  # this sum has the memory of what it adds, of which alone LiteRT counts the readers
        return self.scale(y) + self.after(y)


def test_without_the_copy_the_gate_refuses(monkeypatch, tmp_path):
    assert "MAXIMUM" in operators(lively(Branches()), tmp_path)
    monkeypatch.setattr(tflite_file, "copy_what_is_read_later", lambda *_: 0)
    with pytest.raises(VerificationError, match="TFLite, plain kernels"):
        export_module(lively(Branches()), X, to="tflite", out=tmp_path, name="other")


def operators(module, tmp_path):
    return summarise_tflite(export_module(module, X, to="tflite", out=tmp_path).artifact.path).graph.operators


def test_where_nothing_is_read_later_there_is_none(tmp_path):
    assert "MAXIMUM" not in operators(network(lambda y: torch.cat([y.flatten(1).view_as(y) * 3, y.abs()], 1)), tmp_path)
