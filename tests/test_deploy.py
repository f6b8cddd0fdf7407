"""The deploy form, for any sizes: exact in float64, alone and in a batch; and the model of what each form costs."""

import pytest
import torch
from forms import FORMS
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dcd_deploy.errors import UnknownNameError
from dcd_deploy.models.deploy.channels_first.cost import cheapest_form, form_costs
from dcd_deploy.models.deploy.fold import fold_dynamic, fold_static
from dcd_deploy.models.deploy.network import to_deploy
from dcd_deploy.models.dynamic import ResNetDynamicConv
from dcd_deploy.models.geometry import LayerGeometry, mobilenet_geometry
from dcd_deploy.models.sizes import MapSize


def randomised(module: nn.Module) -> nn.Module:
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor, low, high in (
                (part.weight, 0.2, 2),
                (part.bias, -1, 1),
                (part.running_mean, -1, 1),
                (part.running_var, 0.2, 2),
            ):
                nn.init.uniform_(tensor, low, high)
    return module.double().eval()


layers = st.builds(
    lambda c, k, latent, s, pool, kernel, stride: LayerGeometry(
        c, k, latent, s, pool, kernel, stride if kernel == 3 else 1, kernel // 2
    ),
    *(st.integers(1, 12) for _ in range(4)),
    pool=st.sampled_from([1, 2]),
    kernel=st.sampled_from([1, 3]),
    stride=st.sampled_from([1, 2]),
)


@settings(max_examples=60, deadline=None)
@given(geometry=layers, height=st.integers(1, 9), width=st.integers(1, 9), n=st.integers(1, 3), seed=st.integers(0, 99))
def test_every_form_equals_the_train_form(geometry, height, width, n, seed):
    torch.manual_seed(seed)
    layer, norm = randomised(ResNetDynamicConv(geometry)), randomised(nn.BatchNorm2d(geometry.K))
    x = 3 * torch.randn(n, geometry.C, height, width, dtype=torch.float64)
    with torch.inference_mode():
        wanted = norm(layer(x))
        for form in FORMS.values():
            deploy = form(fold_dynamic(layer, norm), MapSize(height, width, *wanted.shape[2:]))
            found = deploy(x)
            assert found.shape == wanted.shape
            assert (found - wanted).abs().max() <= 1e-9 * max(1.0, wanted.abs().max())


def test_static_fold():
    conv, norm = nn.Conv2d(4, 6, 3, 2, 1, groups=2, bias=False).double(), randomised(nn.BatchNorm2d(6))
    x = torch.randn(2, 4, 9, 9, dtype=torch.float64)
    with torch.inference_mode():
        assert torch.allclose(fold_static(conv, norm)(x), norm(conv(x)), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "fault", ["phi", "phi_bias", "scale", "static", "query", "query_bias", "project", "bias", "shift", "shift_bias"]
)
def test_a_fold_that_is_off_by_a_millionth_shows(fault):
    """Every quantity of the fold matters to at least one form, and an error in it is seen in float64."""
    torch.manual_seed(0)
    layer, norm = randomised(ResNetDynamicConv(LayerGeometry(6, 8, 4, 5, 2))), randomised(nn.BatchNorm2d(8))
    x = torch.randn(2, 6, 5, 5, dtype=torch.float64)
    folded = fold_dynamic(layer, norm)
    object.__setattr__(folded, fault, getattr(folded, fault) * (1 + 1e-6))
    with torch.inference_mode():
        wanted = norm(layer(x))
        errors = [(form(folded, MapSize(5, 5, 5, 5))(x) - wanted).abs().max() for form in FORMS.values()]
    assert max(errors) > 1e-9 * (wanted.max() - wanted.min())


def test_unknown_lowering(small_network):
    with pytest.raises(UnknownNameError, match="unknown lowering 'kernal': did you mean 'kernel'"):
        to_deploy(small_network, 32, 32, "kernal")


def test_auto_takes_what_was_measured_to_be_fast():
    """MobileNetV2 ×1.0 at 224: one kernel for each sample where it is small against the map, else the branch."""
    wide_map, small_map = MapSize(56, 56, 56, 56), MapSize(7, 7, 7, 7)
    assert cheapest_form(mobilenet_geometry(24, 144, 16), wide_map, activated=True) == "kernel"
    assert cheapest_form(mobilenet_geometry(160, 960, 16), small_map, activated=True) == "branch"
    assert cheapest_form(mobilenet_geometry(960, 160, 16), small_map, activated=False) == "branch"


def test_multiply_adds_of_the_forms():
    """By hand, for C = 16, K = 96, L = 8, S = 4, pooled to 2×2, on 10×10 pixels."""
    costs = form_costs(LayerGeometry(16, 96, 8, 4, 2), MapSize(10, 10, 10, 10), activated=True)
    attention = 64 * 4 + 4 * 4 + 4 * (64 + 96)
    static, query, phi, project = 96 * 16 * 100, 8 * 16 * 100, 64 * 100, 96 * 8 * 100
    assert costs["branch"].macs == attention + static + query + phi + project
    assert costs["half"].macs == attention + 4 * 96 + static + query + 96 * 64 + project
    assert costs["kernel"].macs == attention + 4 * 96 + 96 * 64 + 96 * 8 * 16 + static
    assert all(cost.microseconds > 0 for cost in costs.values())
