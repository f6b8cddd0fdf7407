"""The networks: names of keys, sizes, static twins, counts."""

import pytest
import torch
from deployed import captured

from dcd_deploy.artifacts import Preprocessing
from dcd_deploy.errors import OptionError, UnknownNameError
from dcd_deploy.export.build_config import BuildConfig, picture_network
from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.deploy import lower
from dcd_deploy.lowering.targets import TARGETS
from dcd_deploy.models.dynamic import DynamicLayer
from dcd_deploy.models.geometry import mobilenet_geometry
from dcd_deploy.models.mobilenetv2 import channel_plan
from dcd_deploy.models.random_weights import calibrated_network
from dcd_deploy.models.registry import ARCHS, build
from dcd_deploy.models.sizes import check_input_size, summarise
from dcd_deploy.models.spec import NetworkSpec

# parameters, static twin's; multiply-adds in released order, static twin's, at 224×224
COUNTS = [
    (NetworkSpec("mobilenetv2_dcd", 1000, 0.35, 8), 2.268e6, 1.677e6, 79.6e6, 59.3e6),
    (NetworkSpec("mobilenetv2_dcd", 1000, 0.5, 8), 3.057e6, 1.969e6, 132.2e6, 97.1e6),
    (NetworkSpec("mobilenetv2_dcd", 1000, 0.75, 16), 4.082e6, 2.636e6, 285.4e6, 209.1e6),
    (NetworkSpec("mobilenetv2_dcd", 1000, 1.0, 16), 5.720e6, 3.505e6, 398.4e6, 300.8e6),
    (NetworkSpec("resnet18_dcd"), 14.70e6, 11.69e6, 1.883e9, 1.814e9),
    (NetworkSpec("resnet34_dcd"), 27.65e6, 21.80e6, 3.801e9, 3.664e9),
    (NetworkSpec("resnet50_dcd"), 29.84e6, 25.56e6, 4.373e9, 4.089e9),
]


@pytest.mark.parametrize(
    ("spec", "params", "twin_params", "macs", "twin_macs"), COUNTS, ids=lambda v: getattr(v, "arch", "")
)
def test_counts(spec, params, twin_params, macs, twin_macs):
    summary = summarise(spec, 224, 224)
    found = (summary.params, summary.twin_params, summary.macs, summary.twin_macs)
    assert found == pytest.approx((params, twin_params, macs, twin_macs), rel=1e-3)
    dynamic = sum(layer.macs_static + layer.macs_branch for layer in summary.layers)
    assert 0 < dynamic < summary.macs
    assert sum(layer.params_share for layer in summary.layers) < 1


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_every_architecture_runs_at_odd_sizes(arch, dropout):
    spec = NetworkSpec(arch, num_classes=5, width_mult=0.1, dropout=dropout)
    with torch.device("meta"):
        network = build(spec).eval()
        for height, width in ((32, 32), (75, 40)) if dropout else ((33, 47),):
            assert network(torch.empty(2, 3, height, width)).shape == (2, 5)
    last = "cls.weight" if spec.dynamic else "weight"
    assert f"classifier.{int(dropout > 0)}.{last}" in network.state_dict()


@pytest.mark.parametrize("arch", [arch for arch in ARCHS if arch.endswith("_dcd")])
def test_twin_has_the_same_channels(arch):
    """Every static key of the twin is the dynamic network's, with the plain convolution in place of the dynamic one."""
    spec = NetworkSpec(arch, num_classes=7, width_mult=0.35)
    with torch.device("meta"):
        dynamic, twin = build(spec), build(spec.twin())
    shapes = {key: value.shape for key, value in dynamic.state_dict().items()}
    layers = {name for name, module in dynamic.named_modules() if isinstance(module, DynamicLayer)}
    for key, value in twin.state_dict().items():
        layer, _, leaf = key.rpartition(".")
        kind = "cls" if layer.startswith("classifier") else "conv"
        assert shapes[f"{layer}.{kind}.{leaf}" if layer in layers else key] == value.shape
    assert not any(isinstance(module, DynamicLayer) for module in twin.modules())


# A quarter as wide as published: all of its layers and strides, at a sixteenth of the work.
NARROW = tuple(
    width for planes, blocks in ((16, 3), (32, 4), (64, 6), (128, 3)) for width in (planes, planes, 4 * planes) * blocks
)
SPECS = [
    NetworkSpec("mobilenetv2_dcd", 6, 0.1, 8),
    NetworkSpec("resnet10_dcd", 6),
    NetworkSpec("resnet50_dcd", 6, channels=(16, *NARROW)),
]


@pytest.fixture(
    scope="module",
    params=[(spec, size) for spec in SPECS for size in ((32, 32), (33, 47), (64, 32))],
    ids=lambda param: f"{param[0].arch} {param[1][0]}x{param[1][1]}",
)
def odd(request):
    spec, size = request.param
    network = calibrated_network(spec)
    images = torch.randn(3, 3, *size, dtype=torch.float64)
    with torch.inference_mode():
        return captured(network, *size), images, network(images)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.name} {target.format}")
@pytest.mark.parametrize("lowering", ["auto", "branch", "kernel"])
def test_deploy_form_at_odd_sizes(odd, lowering, target):
    network, images, wanted = odd
    lowered = lower(network, target, lowering)
    deploy = lowered.module
    with torch.inference_mode():
        alone = torch.cat([deploy(image[None]) for image in images])
        for found in (alone, *([deploy(images)] if lowered.batch is None else [])):
            assert (found - wanted).abs().max() <= 1e-9 * (wanted.max() - wanted.min())


def test_a_network_that_overflows_on_a_blank_picture_is_captured():
    network = calibrated_network(NetworkSpec("resnet50_dcd", 10), 64)
    with torch.inference_mode():
        assert not network(torch.zeros(1, 3, 64, 64, dtype=torch.float64)).isfinite().all()
    ready = picture_network(network, BuildConfig(Preprocessing.for_size(64, 64)))
    assert len(capture(ready).graph.layers()) == 49


def test_widths():
    assert channel_plan(1.0).channels[::35] == (32, 1280)
    assert channel_plan(1.4).channels[::35] == (48, 1792)
    assert channel_plan(0.5).channels[::35] == (16, 1280)
    assert channel_plan(0.1).stem == 4  # divisor 4 at this width alone
    assert channel_plan(0.11).stem == 8


def test_latent_size_shrinks_until_phi_is_small():
    geometry = mobilenet_geometry(160, 960, 16)
    assert (geometry.L, geometry.S, geometry.pool) == (20, 40, 2)
    assert mobilenet_geometry(8, 48, 1000).S == 4


def test_unknown_architecture_names_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'mobilenetv2_dcd'"):
        build(NetworkSpec("mobilenet_v2_dcd"))


def test_too_small_an_input():
    with pytest.raises(OptionError, match="at least 32×32, found 31×64"):
        check_input_size(31, 64)


def test_random_weights_of_the_deepest_network_stay_finite():
    network = calibrated_network(NetworkSpec("resnet152_dcd", 10), 32)
    with torch.inference_mode():
        outputs = network(torch.randn(2, 3, 32, 32, dtype=torch.float64))
    assert outputs.isfinite().all()
    assert (outputs[0] - outputs[1]).abs().max() > 0
