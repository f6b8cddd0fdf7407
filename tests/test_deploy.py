"""The deploy form, for any sizes: exact in float64, alone and in a batch; and the model of what each form costs."""

import sys
from dataclasses import replace

import pytest
import torch
from forms import FORMS
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dcd_deploy.errors import OptionError, UnknownNameError
from dcd_deploy.models.deploy import channels_first
from dcd_deploy.models.deploy.fold import fold_dynamic, fold_static
from dcd_deploy.models.deploy.form import Rates, forms_in, static_cost
from dcd_deploy.models.deploy.network import to_deploy
from dcd_deploy.models.deploy.target import Target
from dcd_deploy.models.deploy.targets import (
    ONNXRUNTIME_X86,
    PLAIN,
    PORTABLE_ONNX,
    TARGETS,
    X86,
    target_for,
)
from dcd_deploy.models.dynamic import ResNetDynamicConv
from dcd_deploy.models.geometry import LayerGeometry, basic_geometry, bottleneck_geometry, mobilenet_geometry
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


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("n", [1, 2])
def test_in_each_form_an_error_of_a_millionth_in_any_weight_shows(name, kernel, n):
    """Alone or in a batch, which some forms compute by other weights; between the two none goes untested."""
    torch.manual_seed(0)
    geometry = LayerGeometry(6, 8, 4, 5, 2, kernel, 1, kernel // 2)
    layer, norm = randomised(ResNetDynamicConv(geometry)), randomised(nn.BatchNorm2d(8))
    x = torch.randn(n, 6, 5, 5, dtype=torch.float64)
    form = FORMS[name](fold_dynamic(layer, norm), MapSize(5, 5, 5, 5))
    with torch.inference_mode():
        wanted = norm(layer(x))
        assert (form(x) - wanted).abs().max() <= 1e-9 * wanted.abs().max()
        unused = []
        for key, weight in form.named_parameters():
            kept = weight.clone()
            weight.add_(1e-6 * max(1.0, float(kept.abs().max())))
            if (form(x) - wanted).abs().max() <= 1e-9 * wanted.abs().max():
                unused.append(key)
            weight.copy_(kept)
    assert unused == UNUSED.get((name, kernel, n), [])


# One sample has the taps of Q' in a whole kernel, a batch Q' by itself.
UNUSED = {("channels_first kernel", kernel, n): [("query", "query_taps")[n - 1]] for kernel in (1, 3) for n in (1, 2)}
# A 3×3 layer of form nchwc is one of form kernel.
UNUSED |= {("channels_first nchwc", 3, n): [f"plain.{UNUSED['channels_first kernel', 3, n][0]}"] for n in (1, 2)}


DUMMY = """
from dcd_deploy.models.deploy.channels_first.branch import BranchForm

class Dummy(BranchForm):
    name = "dummy"
    only_for = {only_for}
"""


@pytest.mark.parametrize("only_for", [None, ("onnxruntime-arm",)])
def test_a_form_is_one_file(tmp_path, monkeypatch, only_for):
    """What lies in the folder of a spelling is found, and serves the targets that it is for."""
    (tmp_path / "dummy.py").write_text(DUMMY.format(only_for=only_for))
    monkeypatch.setattr(channels_first, "__path__", [*channels_first.__path__, str(tmp_path)])
    spelling = replace(channels_first.CHANNELS_FIRST, forms=forms_in(channels_first))
    del sys.modules[f"{channels_first.__name__}.dummy"], channels_first.dummy
    assert set(spelling.forms) == {*channels_first.CHANNELS_FIRST.forms, "dummy"}
    for name, rates in (("onnxruntime-x86", X86), ("onnxruntime-arm", PLAIN)):
        target = Target.serving(name, "onnx", spelling, rates)
        assert ("dummy" in target.forms) == (only_for is None or name in only_for)
        costs = target.costs(mobilenet_geometry(24, 144, 16), MapSize(56, 56, 56, 56), activated=True)
        assert set(costs) == set(target.forms)


def test_forms_are_for_targets_that_there_are():
    for target in TARGETS:
        for form in target.spelling.forms.values():
            assert set(form.only_for or ()) <= {t.name for t in TARGETS if t.spelling is target.spelling}
        assert {"branch", "kernel"} <= set(target.forms)


def test_unknown_lowering(small_network):
    with pytest.raises(UnknownNameError, match="unknown lowering 'kernal': did you mean 'kernel'"):
        to_deploy(small_network, 32, 32, "kernal")


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.name} {target.format}")
def test_auto_takes_what_was_measured_to_be_fast(target):
    """One kernel for each sample where it is small against the map, and not where it is large."""
    wide_map, small_map = MapSize(56, 56, 56, 56), MapSize(7, 7, 7, 7)
    kernels = ("kernel", "nchwc", "homogeneous")
    assert target.choose(mobilenet_geometry(24, 144, 16), wide_map, activated=True) in kernels
    assert target.choose(basic_geometry(512, 512, 1), small_map, activated=True) not in kernels


def test_portable_is_bad_nowhere():
    """Of two machines that disagree it takes what loses least on the one where it loses most."""
    one, other = (Rates(0, *rates, 0, 0, 0) for rates in ((1, 0), (0, 1)))  # computed weights alone, passes alone
    both = replace(PORTABLE_ONNX, rates=(one, other))
    geometry, size = mobilenet_geometry(160, 960, 16), MapSize(14, 14, 14, 14)
    costs = both.costs(geometry, size, activated=True)

    def worst(form):
        return max(
            rates.microseconds(costs[form]) / min(map(rates.microseconds, costs.values())) for rates in both.rates
        )

    assert worst(both.choose(geometry, size, activated=True)) == min(map(worst, costs))
    assert len({replace(both, rates=(rates,)).choose(geometry, size, activated=True) for rates in both.rates}) == 2


def test_a_target_is_of_one_format():
    with pytest.raises(OptionError, match="--target litert with --to tflite, found --to onnx"):
        target_for("litert", "onnx")
    with pytest.raises(UnknownNameError, match="did you mean 'litert'"):
        target_for("litrt", "tflite")


def test_a_form_for_each_layer(small_network):
    forms = to_deploy(small_network, 32, 32, "branch").lowering
    layers = [name for name in forms if not name.startswith("classifier")]
    mixed = {name: ("blocked", "kernel", "branch")[i % 3] for i, name in enumerate(layers)}
    deploy = to_deploy(small_network, 32, 32, mixed)
    assert {name: deploy.lowering[name] for name in layers} == mixed
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.inference_mode():
        wanted = small_network(x)
        assert (deploy(x) - wanted).abs().max() <= 1e-9 * (wanted.max() - wanted.min())
    with pytest.raises(OptionError, match=f"a form for layer '{layers[0]}'"):
        to_deploy(small_network, 32, 32, dict.fromkeys(layers[1:], "branch"))
    with pytest.raises(OptionError, match="found 'features.99' too"):
        to_deploy(small_network, 32, 32, mixed | {"features.99": "branch"})
    with pytest.raises(UnknownNameError, match="did you mean 'branch'"):
        to_deploy(small_network, 32, 32, mixed | {layers[0]: "brunch"})


def test_multiply_adds_of_the_forms():
    """By hand, for C = 16, K = 96, L = 8, S = 4, pooled to 2×2, on 10×10 pixels."""
    costs = ONNXRUNTIME_X86.costs(LayerGeometry(16, 96, 8, 4, 2), MapSize(10, 10, 10, 10), activated=True)
    attention = 64 * 4 + 4 * 4 + 4 * (64 + 96)
    static, query, phi, project = 96 * 16 * 100, 8 * 16 * 100, 64 * 100, 96 * 8 * 100
    assert costs["branch"].macs == attention + static + query + phi + project
    assert costs["blocked"].macs == costs["branch"].macs
    assert costs["kernel"].macs == attention + 4 * 96 + 96 * 64 + 96 * 8 * 16 + static


def test_no_form_counts_less_than_its_static_layer():
    """But for multiply-adds that the kernel order moves from constant to computed weights."""
    for target in TARGETS:
        for geometry in (
            mobilenet_geometry(24, 144, 16),
            basic_geometry(64, 128, 2),
            bottleneck_geometry(256, 64, 1, 1),
        ):
            size = MapSize(28, 28, 28 // geometry.stride, 28 // geometry.stride)
            static = static_cost(geometry, size)
            for cost in target.costs(geometry, size, activated=True).values():
                assert cost.macs > static.macs
                assert cost.bytes_moved > static.bytes_moved
                assert cost.nodes > static.nodes
