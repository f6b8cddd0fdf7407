"""Depthwise convolutions in float64 as a sum over taps are torch's own."""

import pytest
import torch
from torch import nn

from dcd_deploy.dynamic import depthwise
from dcd_deploy.dynamic.depthwise import QuickDepthwise

ROUNDING = 1e-14  # of the range; float64 leaves 1e-16 for each of a few sums
CASES = [
    {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation, "bias": bias}
    for kernel in (1, 2, 3, (5, 3))
    for stride in (1, 2, (3, 1))
    for padding in (0, 1, (1, 2))
    for dilation in (1, 2)
    for bias in (True, False)
]


@pytest.fixture
def taken(monkeypatch):
    """The inputs that were convolved tap by tap."""
    seen = []
    own = depthwise._by_taps
    monkeypatch.setattr(depthwise, "_by_taps", lambda x, *rest: (seen.append(x), own(x, *rest))[1])
    return seen


@torch.no_grad()
def both(layer: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    with QuickDepthwise():
        quick = layer(x)
    return quick, layer(x)


@pytest.mark.parametrize("multiple", [1, 3])
@pytest.mark.parametrize("cached", [depthwise.CACHED, 250])  # all channels together, and two after two
def test_every_geometry_gives_what_torch_gives(multiple, cached, taken, monkeypatch):
    monkeypatch.setattr(depthwise, "CACHED", cached)
    torch.manual_seed(0)
    x = torch.randn(2, 10, 13, 9, dtype=torch.float64)
    for case in CASES:
        layer = nn.Conv2d(10, 10 * multiple, groups=10, **case).double()
        quick, own = both(layer, x)
        assert quick.shape == own.shape, case
        assert float((quick - own).abs().max()) <= ROUNDING * float(own.abs().max()), case
    assert len(taken) == len(CASES)


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (nn.Conv2d(8, 8, 3, groups=8), torch.randn(1, 8, 8, 8)),  # float32 is quick, and what is on trial
        (nn.Conv2d(8, 8, 3).double(), torch.randn(1, 8, 8, 8).double()),
        (nn.Conv2d(8, 8, 3, groups=2).double(), torch.randn(1, 8, 8, 8).double()),
        (nn.Conv2d(8, 8, 3, groups=8, padding="same").double(), torch.randn(1, 8, 8, 8).double()),
        (nn.Conv2d(8, 8, 3, groups=8).double(), torch.randn(8, 8, 8).double()),  # without a batch
        (nn.Conv1d(8, 8, 3, groups=8).double(), torch.randn(1, 8, 8).double()),
    ],
)
def test_all_else_is_torchs_own(layer, x, taken):
    quick, own = both(layer, x)
    assert torch.equal(quick, own)
    assert not taken


def test_padding_by_reflection_is_kept(taken):
    layer = nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect", groups=8).double()
    quick, own = both(layer, torch.randn(2, 8, 6, 6).double())
    assert torch.allclose(quick, own, rtol=0, atol=1e-14)
    assert taken


def test_too_small_a_map_is_refused_as_torch_does():
    layer = nn.Conv2d(8, 8, 5, groups=8).double()
    with QuickDepthwise(), pytest.raises(RuntimeError, match="size"):
        layer(torch.randn(1, 8, 3, 3).double())
