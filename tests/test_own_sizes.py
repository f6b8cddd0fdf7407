"""Networks with other sizes than the rules give: built from their own tensors."""

import dataclasses
import json
import math

import pytest
import torch
import torch.nn.functional as F
from held import IMAGES, MOBILE, RESNET, answers, enlivened, held, network_of, pictures, same, wanted_of
from torch import nn

from dcd_deploy.models.dynamic import DynamicConv2d, DynamicLayer
from dcd_deploy.models.mobilenetv2 import channel_plan
from dcd_deploy.models.registry import ARCHS, build
from dcd_deploy.models.sizes import module_sizes, sizes_of, skeleton
from dcd_deploy.models.spec import LayerSizes, NetworkSpec


class Layer(nn.Module):
    """A dynamic layer of somebody else's: any L, S and pool, biases everywhere, with norms or without."""

    def __init__(self, old, latent, squeeze, pool, *, norms, bias):
        super().__init__()
        g, self.names = old.geometry, (old.QUERY, old.PROJECT)
        self.latent, self.pool, self.norms = latent, pool, norms
        self.conv = nn.Conv2d(g.C, g.K, g.kernel, g.stride, g.padding, bias=bias)
        self.add_module(old.QUERY, nn.Conv2d(g.C, latent, 1, g.stride, bias=bias))
        self.add_module(old.PROJECT, nn.Conv2d(latent, g.K, 1, bias=bias))
        inner = nn.Module()
        inner.fc = nn.Sequential(nn.Linear(squeeze, squeeze, bias=bias))
        self.fc = nn.Sequential(nn.Linear(g.C * pool**2, squeeze, bias=bias), inner)
        self.fc_phi = nn.Linear(squeeze, latent**2, bias=bias)
        self.fc_scale = nn.Linear(squeeze, g.K, bias=bias)
        if norms:
            self.bn1, self.bn2 = nn.BatchNorm1d(latent), nn.BatchNorm1d(latent)

    def forward(self, x):
        gate = lambda v: F.relu6(v + 3) / 3  # noqa: E731
        query, project = (getattr(self, name) for name in self.names)
        a = self.fc[0](F.adaptive_avg_pool2d(x, self.pool).flatten(1))
        a = a * gate(self.fc[1].fc(a))
        phi = self.fc_phi(a).view(-1, self.latent, self.latent)
        q = query(x)
        v = q.flatten(2)
        v = self.bn1(v) if self.norms else v
        mixed = torch.bmm(phi, v)
        mixed = (self.bn2(mixed) if self.norms else mixed) + v
        return gate(self.fc_scale(a))[:, :, None, None] * self.conv(x) + project(mixed.view_as(q))


def replaced(network, make):
    for name, module in list(network.named_modules()):
        if isinstance(module, DynamicConv2d):
            parent, _, last = name.rpartition(".")
            setattr(network.get_submodule(parent), last, make(module))
    return enlivened(network)


VARIATIONS = {
    "L of √C": lambda old: (max(2, math.isqrt(old.geometry.C)), old.geometry.S, old.geometry.pool),
    "L of 16": lambda old: (16, old.geometry.S, old.geometry.pool),
    "S of 5": lambda old: (old.geometry.L, 5, old.geometry.pool),
    "pool 1": lambda old: (old.geometry.L, old.geometry.S, 1),
    "pool 2": lambda old: (old.geometry.L, old.geometry.S, 2),
}


@pytest.mark.parametrize("spec", [MOBILE, RESNET], ids=lambda spec: spec.arch)
@pytest.mark.parametrize("sizes", VARIATIONS)
@pytest.mark.parametrize(("norms", "bias"), [(True, False), (False, False), (True, True)])
def test_layers_are_built_from_their_own_tensors(tmp_path, spec, sizes, norms, bias):
    torch.manual_seed(0)
    network = replaced(build(spec).double(), lambda old: Layer(old, *VARIATIONS[sizes](old), norms=norms, bias=bias))
    fit = held(tmp_path / "net.pth", network.state_dict())
    assert fit.spec.layers or (sizes == "pool 2" and spec is RESNET and norms and not bias)  # that is its rule
    assert same(answers(fit, IMAGES), wanted_of(network))
    assert NetworkSpec.from_json(json.loads(json.dumps(dataclasses.asdict(fit.spec)))) == fit.spec


@pytest.mark.parametrize("channels", [1, 4, 5])
@pytest.mark.parametrize("spec", [MOBILE, RESNET], ids=lambda spec: spec.arch)
def test_any_number_of_input_channels(tmp_path, spec, channels):
    network = network_of(dataclasses.replace(spec, in_channels=channels))
    fit = held(tmp_path / "net.pth", network.state_dict())
    assert fit.spec.in_channels == channels
    assert same(answers(fit, pictures(channels)), wanted_of(network, pictures(channels)))


def test_widths_that_no_multiplier_gives(tmp_path):
    plan = channel_plan(0.1)
    channels = tuple(number + 4 * (i % 3) for i, number in enumerate(plan.channels))
    channels = (channels[0], channels[0], *channels[2:])
    mobile = dataclasses.replace(MOBILE, channels=channels)
    resnet = dataclasses.replace(RESNET, channels=(24, 16, 32, 40, 48, 56, 64, 72, 80))
    for spec in (mobile, resnet):
        network = network_of(spec)
        fit = held(tmp_path / "net.pth", network.state_dict())
        assert fit.spec.channels == spec.channels
        assert "own widths" in fit.spec.describe()
        assert same(answers(fit, IMAGES), wanted_of(network))
        assert all(isinstance(m, DynamicLayer) is False for m in build(fit.spec.twin()).modules())


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_stems_for_small_pictures(tmp_path, kernel):
    network = network_of(RESNET)
    torch.manual_seed(1)
    network.conv1 = nn.Conv2d(3, 64, kernel, 1 if kernel == 3 else 2, kernel // 2, bias=False).double()
    if kernel == 3:
        network.maxpool = nn.Identity()
    fit = held(tmp_path / "net.pth", network.state_dict())
    assert same(answers(fit, IMAGES), wanted_of(network))
    strides = "1,1,2,2,2" if kernel == 3 else "2,1,2,2,2"
    assert any(line.startswith(f"strides {strides}") for line in fit.assumed)
    assert any(line.startswith(f"{'no' if kernel == 3 else 'a'} pool") for line in fit.assumed)


@pytest.mark.parametrize("arch", ARCHS)
def test_shapes_alone_are_those_of_the_network(arch):
    """What the layers say of their shapes is what torch computes."""
    spec = NetworkSpec(arch, 5, 0.1, layers=(LayerSizes("layer1.0.conv1", 3, 5, 2),))
    for height, width in ((32, 32), (75, 47)):
        network = skeleton(spec)
        with torch.device("meta"):
            wanted = module_sizes(network, torch.empty(1, 3, height, width))
        found = sizes_of(network, height, width)
        assert {name: wanted[name] for name in found} == found
        convs = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d | DynamicLayer)]
        assert set(convs) <= set(found)
        assert all("forward" not in vars(module) for module in network.modules())
