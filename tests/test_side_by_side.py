"""Depthwise convolutions of more outputs than LiteRT's plain kernel comes to an end with."""

import pytest
import torch
import torch.nn.functional as F
from dynamic_layers import lively
from mixture_layers import per_sample
from torch import nn

import dcd_deploy
from dcd_deploy.lowering.channels_last.layers import Between, on_maps
from dcd_deploy.lowering.channels_last.operators import to_channels_first, to_channels_last
from dcd_deploy.lowering.channels_last.side_by_side import WIDEST, SideBySide
from dcd_deploy.runtimes import open_model, self_check


def depthwise(channels, multiplier=1, **settings):
    with torch.device("meta"):
        conv = nn.Conv2d(channels, channels * multiplier, 3, groups=channels, **settings)
    conv.to_empty(device="cpu")
    for parameter in conv.parameters():
        nn.init.normal_(parameter)
    return conv.double().eval().requires_grad_(requires_grad=False)


@pytest.mark.parametrize(
    ("channels", "multiplier", "parts"), [(WIDEST, 1, 1), (WIDEST + 1, 1, 2), (605, 8, 2), (3, 2417, 3), (2, 4833, 2)]
)
@pytest.mark.parametrize("bias", [False, True])
def test_parts_are_the_whole(channels, multiplier, parts, bias):
    conv = depthwise(channels, multiplier, padding=1, bias=bias)
    x = torch.randn(1, channels, 5, 4, dtype=torch.float64)
    made = on_maps(conv)
    assert len([module for module in made.modules() if hasattr(module, "weight")]) == parts
    torch.testing.assert_close(to_channels_first(made(to_channels_last(x))), conv(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "settings", [{"padding": "same"}, {"padding": (2, 0)}, {"padding": 1, "padding_mode": "reflect"}]
)
def test_what_no_operator_of_maps_does(settings):
    conv = depthwise(1209, 4, dilation=2 if settings["padding"] != 1 else 1, **settings)
    x = torch.randn(1, 1209, 6, 6, dtype=torch.float64)
    made = on_maps(conv)
    assert isinstance(made, Between)
    assert isinstance(made.conv, SideBySide)
    torch.testing.assert_close(to_channels_first(made(to_channels_last(x))), conv(x), rtol=0, atol=1e-12)


class WeightMaking(nn.Module):
    """WeightNet, the weights by a grouped layer of more outputs, for a map of as many patches."""

    def __init__(self, C=560, K=9):
        super().__init__()
        self.make = nn.Conv2d(C, K * C * 9, 1, groups=C)

    def forward(self, x):
        n, c, _, _ = x.shape
        weight = torch.sigmoid(self.make(F.adaptive_avg_pool2d(x, 1))).view(n, -1, c, 3, 3)
        return per_sample(x, weight, None, stride=1, padding=1, dilation=1, groups=1)


@pytest.mark.parametrize(
    ("channels", "layer", "outputs"),
    [(WIDEST + 1, depthwise, WIDEST + 1), pytest.param(560, WeightMaking, 9, marks=pytest.mark.exhaustive)],
)
def test_the_file_runs_without_xnnpack(tmp_path, channels, layer, outputs):
    """The gate has it run by both kernels; before, the plain one went on for ever."""
    pooled = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(outputs, 4))
    network = nn.Sequential(nn.Conv2d(3, channels, 1), layer(channels).float(), *pooled)
    result = dcd_deploy.export_module(lively(network), torch.randn(1, 3, 6, 6), to="tflite", out=tmp_path)
    assert "TFLite, plain kernels" in {comparison.stage for comparison in result.built.report.comparisons}
    assert self_check(open_model(result.artifact.path)).passed
