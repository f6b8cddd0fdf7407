"""Networks with other sizes than the rules give, and what no tensor tells: read from the tensors, or from the user."""

import dataclasses
import json
import math

import pytest
import torch
import torch.nn.functional as F
from held import MOBILE, RESNET, answers, enlivened, held, network_of, pictures, same
from torch import nn

from dcd_deploy.errors import CheckpointMismatchError, ModelFileError, OptionError, UnknownNameError
from dcd_deploy.models import dynamic
from dcd_deploy.models.dynamic import DynamicConv2d, DynamicLayer
from dcd_deploy.models.fit import fit_checkpoint
from dcd_deploy.models.infer import SpecOverrides
from dcd_deploy.models.mobilenetv2 import channel_plan
from dcd_deploy.models.registry import ARCHS, build
from dcd_deploy.models.sizes import module_sizes, sizes_of, skeleton
from dcd_deploy.models.spec import GATE_NAMES, LayerSizes, NetworkSpec
from dcd_deploy.models.untold import Untold

IMAGES = pictures()


def wanted_of(network, images=IMAGES):
    with torch.no_grad():
        return network(images)


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


def set_eps(network):
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eps = 1e-3


def without_q(network):
    def forward(self, x):
        phi, scale = self.attention(F.adaptive_avg_pool2d(x, self.geometry.pool).flatten(1))
        qm = self.query(x)
        mixed = self.bn2(torch.bmm(phi, self.bn1(qm.flatten(2)))).view_as(qm)
        return self.static(x) * scale[:, :, None, None] + self.project(mixed)

    def vector(self, x):
        phi, scale = self.attention(x)
        q = self.bn1(self.cls_q(x))
        return self.cls(x) * scale + self.cls_p(self.bn2(torch.einsum("nij,nj->ni", phi, q)))

    for module in network.modules():
        if isinstance(module, DynamicLayer):
            module.forward = (forward if isinstance(module, DynamicConv2d) else vector).__get__(module)


def stride(path):
    def change(network):
        for name in path.split():
            network.get_submodule(name).stride = (1, 1)

    return change


def small_pictures(network):
    stride("features.0.0 features.2.conv.3")(network)
    network.features[2].residual = True  # at this width it gives as many channels as it takes


OTHERWISE = {
    "eps": (MOBILE, set_eps, {"bn_eps": 1e-3}),
    "eps of a ResNet": (RESNET, set_eps, {"bn_eps": 1e-3}),
    "without q": (MOBILE, without_q, {"residual_q": False}),
    "without q of a ResNet": (RESNET, without_q, {"residual_q": False}),
    "stem": (MOBILE, stride("features.0.0"), {"stem_stride": 1}),
    "last stage": (
        RESNET,
        stride("layer4.0.conv1.conv layer4.0.conv1.q layer4.0.downsample.0"),
        {"last_stride": 1},
    ),
    "last stage of a MobileNet": (MOBILE, stride("features.14.conv.3"), {"last_stride": 1}),
    "small pictures": (
        MOBILE,
        small_pictures,
        {"strides": (1, 1, 1, 2, 2, 1, 2, 1)},
    ),
    "no pool": (RESNET, lambda net: setattr(net, "maxpool", nn.Identity()), {"stem_pool": False}),
}


@pytest.mark.parametrize("case", OTHERWISE)
def test_what_no_tensor_tells_is_what_the_user_says(tmp_path, case):
    spec, change, said = OTHERWISE[case]
    network = network_of(spec)
    images = pictures(size=64)
    published = wanted_of(network, images)
    change(network)
    wanted = wanted_of(network, images)
    assert not same(published, wanted)
    path, state = tmp_path / "net.pth", network.state_dict()
    assert same(answers(held(path, state), images), published)
    fit = held(path, state, SpecOverrides(untold=Untold(**said)))
    assert same(answers(fit, images), wanted)
    assert len(fit.assumed) == len(held(path, state).assumed) - (not {"stem_stride", "last_stride"} & said.keys())
    assert NetworkSpec.from_json(json.loads(json.dumps(dataclasses.asdict(fit.spec)))) == fit.spec
    again = fit_checkpoint(fit.checkpoint, made_as=fit.spec)
    assert again.spec == fit.spec
    assert len(again.assumed) == len(held(path, state).assumed)


@pytest.mark.parametrize(("gate", "formula"), [("relu6/6", lambda v: F.relu6(v + 3) / 6), ("sigmoid", torch.sigmoid)])
@pytest.mark.parametrize("spec", [MOBILE, RESNET], ids=lambda spec: spec.arch)
def test_other_gates(tmp_path, monkeypatch, spec, gate, formula):
    network = network_of(spec)
    with monkeypatch.context() as patch:
        patch.setattr(dynamic, "gate", formula)
        wanted = wanted_of(network)
    assert not same(wanted_of(network), wanted)
    fit = held(tmp_path / "net.pth", network.state_dict(), SpecOverrides(untold=Untold(gate=gate)))
    assert same(answers(fit, IMAGES), wanted)
    assert not any("gate" in line for line in fit.assumed)


def test_what_is_assumed_is_said(tmp_path):
    assert held(tmp_path / "net.pth", network_of(MOBILE).state_dict()).assumed == (
        "BatchNorm eps 1e-05 (`bn_eps`)",
        "gate relu6(v + 3) / 3 (`gate`)",
        "with '+ q' in the dynamic layers (`residual_q`)",
        "strides 2,1,2,2,2,1,2,1, the stem's first (`stem_stride`, `last_stride`, `strides`)",
    )
    static = held(tmp_path / "net.pth", network_of(NetworkSpec("resnet10", 10)).state_dict())
    assert static.assumed == (
        "BatchNorm eps 1e-05 (`bn_eps`)",
        "strides 2,1,2,2,2, the stem's first (`stem_stride`, `last_stride`, `strides`)",
        "a pool behind the stem (`stem_pool`)",
    )


WRONG = [
    {"bn_eps": 0},
    {"bn_eps": -1.0},
    {"bn_eps": float("nan")},
    {"bn_eps": True},
    {"bn_eps": "x"},
    {"stem_stride": 0},
    {"last_stride": 9},
    {"strides": (1, 2.5)},
    {"strides": (2, 1, 2, 2, 2), "stem_stride": 1},
]


@pytest.mark.parametrize("said", WRONG, ids=str)
def test_what_no_network_has_is_refused(said):
    with pytest.raises(OptionError) as refusal:
        Untold(**said)
    assert next(iter(said)) in refusal.value.parameters


def test_other_refusals(tmp_path):
    with pytest.raises(UnknownNameError, match="unknown gate 'relu6/4': did you mean 'relu6/"):
        Untold(gate="relu6/4")
    with pytest.raises(OptionError, match=r"`strides` of 8 numbers .*usual: 2,1,2,2,2,1,2,1\), found 5"):
        held(
            tmp_path / "net.pth",
            network_of(MOBILE).state_dict(),
            SpecOverrides(untold=Untold(strides=(2, 1, 2, 2, 2))),
        )


def test_a_phi_that_is_no_square_is_refused(tmp_path):
    state = network_of(MOBILE).state_dict()
    key = "features.3.conv.0.fc_phi.weight"
    state[key] = state[key][:-1]
    with pytest.raises(CheckpointMismatchError, match=f"wrongly shaped: {key}"):
        held(tmp_path / "net.pth", state)


OLD = {"arch": "mobilenetv2_dcd", "num_classes": 10, "width_mult": 0.5, "fc_squeeze": 8, "dropout": 0.1}
DAMAGED = {
    "in_channels": [0, -1, True, "3", 1 << 40],
    "head": ["other", 3, None],
    "channels": [[0], "1", [1] * 5000, [1 << 40], {}],
    "layers": [[{}], [3], [{"name": "x", "L": 1 << 30, "S": 1, "pool": 1, "biases": [], "norms": []}], "x"],
    "bn_eps": [0, -1, 2, float("nan"), "1", True],
    "gate": ["other", None],
    "residual_q": [1, None],
    "strides": [[0], [99], "2"],
    "stem_pool": [0],
    "stem_kernel": [-1, 99],
}


def test_descriptions_of_old_files_are_read():
    assert NetworkSpec.from_json(OLD) == NetworkSpec("mobilenetv2_dcd", 10, 0.5, 8, 0.1)


@pytest.mark.parametrize("key", DAMAGED)
def test_descriptions_are_bounded(key):
    for value in DAMAGED[key]:
        with pytest.raises(ModelFileError, match=f"found '{key}' wrong"):
            NetworkSpec.from_json(OLD | {key: value})


def test_descriptions_of_no_network_are_refused():
    for damage in ({"channels": [8, 8]}, {"strides": [1, 2]}):
        for arch in ("mobilenetv2_dcd", "resnet10_dcd"):
            with pytest.raises(ModelFileError, match="expected .* found"):
                build(NetworkSpec.from_json(OLD | {"arch": arch} | damage))


def test_gates_have_one_name():
    assert tuple(dynamic.GATES) == GATE_NAMES


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
