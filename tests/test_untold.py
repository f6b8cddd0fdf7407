"""Networks with other sizes than the rules give, and what no tensor tells: read from the tensors, or from the user."""

import dataclasses
import json

import pytest
import torch
import torch.nn.functional as F
from held import IMAGES, MOBILE, RESNET, answers, held, network_of, pictures, same, wanted_of
from torch import nn

from dcd_deploy.errors import CheckpointMismatchError, ModelFileError, OptionError, UnknownNameError
from dcd_deploy.models import dynamic
from dcd_deploy.models.dynamic import DynamicConv2d, DynamicLayer
from dcd_deploy.models.fit import fit_checkpoint
from dcd_deploy.models.infer import SpecOverrides
from dcd_deploy.models.registry import build
from dcd_deploy.models.spec import GATE_NAMES, NetworkSpec
from dcd_deploy.models.untold import Untold, assumed_of_pictures


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


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ((), ("mean and deviation of ImageNet (`mean`, `std`)", "short side 37 before the crop (`resize`)")),
        (("mean", "resize"), ("deviation of ImageNet (`std`)",)),
        (("std",), ("mean of ImageNet (`mean`)", "short side 37 before the crop (`resize`)")),
        (("mean", "std", "resize"), ()),
    ],
)
def test_what_is_assumed_of_pictures_is_said(said, words):
    assert assumed_of_pictures(37, said) == words


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
