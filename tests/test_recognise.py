"""Where a known network lies in a checkpoint: prefixes, heads, copies, what is left out, weights kept in parts."""

import io
import re

import pytest
import torch
from held import IMAGES, MOBILE, RESNET, answers, held, network_of, same, wanted_of
from rich.console import Console
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from dcd_deploy.errors import CheckpointMismatchError, OptionError
from dcd_deploy.models.infer import SpecOverrides
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.reports.inspect import show_mismatch


@pytest.fixture(scope="module")
def networks():
    return {spec.arch: network_of(spec) for spec in (MOBILE, RESNET)}


@pytest.fixture(scope="module")
def mobile(networks):
    return networks[MOBILE.arch]


def within(prefix, state):
    return {prefix + key: value for key, value in state.items()}


PREFIXES = [
    "model.",
    "backbone.",
    "net.",
    "encoder.",
    "student.",
    "module.",
    "_orig_mod.",
    "model.backbone.",
    "anything.",
    "module.model._orig_mod.",
    "model.module.",
    "a.b.c.d.",
]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("arch", ["mobilenetv2_dcd", "resnet10_dcd"])
def test_prefixes_are_found_and_named(tmp_path, networks, prefix, arch):
    network = networks[arch]
    fit = held(tmp_path / "net.pth", within(prefix, network.state_dict()))
    assert fit.spec == network.spec
    assert same(answers(fit, IMAGES), wanted_of(network))
    left = prefix.replace("_orig_mod.", "").removeprefix("module.").replace(".module.", ".")
    notes = " ".join(fit.checkpoint.notes)
    assert (f"prefix '{left}' taken from" in notes) == bool(left)


@pytest.mark.parametrize("arch", ["mobilenetv2_dcd", "resnet10_dcd"])
@pytest.mark.parametrize(
    "head", ["head.", "head.fc.", "cls_head.fc_cls.", "model.head.", "linear.", "model.classifier."]
)
def test_backbone_and_head_held_apart(tmp_path, networks, arch, head):
    network = networks[arch]
    state = network.state_dict()
    apart = {
        f"{head}{key.removeprefix('classifier.0.')}"
        if key.startswith("classifier.")
        else f"model.backbone.{key}": value
        for key, value in state.items()
    }
    fit = held(tmp_path / "net.pth", apart)
    assert same(answers(fit, IMAGES), wanted_of(network))
    assert f"head '{head[:-1]}' read as the classifier" in fit.checkpoint.notes


@pytest.mark.parametrize("name", ["classifier.1", "classifier.0", "classifier", "fc", "head", "head.fc", "last_linear"])
@pytest.mark.parametrize("arch", ["mobilenetv2_dcd", "resnet10_dcd"])
def test_a_linear_head(tmp_path, networks, name, arch):
    network, backbone = networks[arch], features_of(networks[arch])
    torch.manual_seed(3)
    head = nn.Linear(backbone.shape[1], 7).double()
    state = {k: v for k, v in network.state_dict().items() if not k.startswith("classifier.")}
    fit = held(tmp_path / "net.pth", state | within(f"{name}.", head.state_dict()))
    assert (fit.spec.head_kind, fit.spec.num_classes) == ("linear", 7)
    assert same(answers(fit, IMAGES), wanted_of(head, backbone))


def features_of(network):
    kept = []
    with torch.no_grad():
        handle = network.avgpool.register_forward_hook(lambda module, inputs, output: kept.append(output.flatten(1)))
        network(IMAGES)
        handle.remove()
    return kept[0]


@pytest.mark.parametrize("arch", ["mobilenetv2_dcd", "resnet10_dcd"])
def test_without_a_head_the_features_come_out(tmp_path, networks, arch):
    state = {k: v for k, v in networks[arch].state_dict().items() if not k.startswith("classifier.")}
    wanted = features_of(networks[arch])
    fit = held(tmp_path / "net.pth", within("encoder.", state))
    assert (fit.spec.head_kind, fit.spec.num_classes) == ("none", wanted.shape[1])
    assert same(answers(fit, IMAGES), wanted)
    assert f"no classifier: the output is the {wanted.shape[1]} pooled features" in fit.checkpoint.notes
    with pytest.raises(CheckpointMismatchError, match="missing: classifier.0"):
        held(tmp_path / "net.pth", state, SpecOverrides(num_classes=10))


def test_torchvisions_resnet_is_the_static_one(tmp_path):
    network = network_of(NetworkSpec("resnet18", 5))
    state = {k.replace("classifier.0.", "fc."): v for k, v in network.state_dict().items()}
    fit = held(tmp_path / "net.pth", state)
    assert fit.spec == NetworkSpec("resnet18", 5)
    assert same(answers(fit, IMAGES), wanted_of(network))


def test_the_students_network_is_taken_of_two(tmp_path, mobile):
    teacher = network_of(MOBILE, seed=5).state_dict()
    for name in ("teacher.", "model_ema.", "momentum_encoder.", "encoder_k."):
        fit = held(tmp_path / "net.pth", within("student.", mobile.state_dict()) | within(name, teacher))
        assert same(answers(fit, IMAGES), wanted_of(mobile))
        assert any(note.startswith(f"left out: '{name}' (") for note in fit.checkpoint.notes)
    fit = held(tmp_path / "net.pth", within("left.", mobile.state_dict()) | within("right.", teacher), prefix="left")
    assert same(answers(fit, IMAGES), wanted_of(mobile))
    with pytest.raises(OptionError, match="expected one network in .* found 2, behind 'left.', 'right.'; .* `prefix`"):
        held(tmp_path / "net.pth", within("left.", mobile.state_dict()) | within("right.", teacher))


AUXILIARY = {
    "aux.": {"aux.weight": (4, 8), "aux.bias": (4,)},
    "aux_head.": {"aux_head.0.weight": (16, 8, 3, 3), "aux_head.1.weight": (10, 1280)},
    "auxiliary.": {"auxiliary.fc.weight": (10, 1280)},
    "criterion.": {"criterion.centres": (10, 1280)},
    "arcface_loss.": {"arcface_loss.weight": (10, 1280)},
    "decoder.": {"decoder.conv.weight": (16, 8, 3, 3), "decoder.bn.weight": (16,)},
}


@pytest.mark.parametrize("group", AUXILIARY)
@pytest.mark.parametrize("prefix", ["", "model."])
def test_what_the_network_cannot_use_is_left_out_and_said(tmp_path, mobile, group, prefix):
    more = {key: torch.ones(shape) for key, shape in AUXILIARY[group].items()}
    fit = held(tmp_path / "net.pth", within(prefix, mobile.state_dict() | more))
    assert same(answers(fit, IMAGES), wanted_of(mobile))
    said = f"left out: '{prefix}{group}' ({len(more)} tensors), which the network does not use"
    assert said in fit.checkpoint.notes


def test_a_refusal_names_what_was_left_out_too(tmp_path, mobile):
    """What is missing may be there under a name that recognition has no use for."""
    state = mobile.state_dict()
    state["decoder.conv.weight"] = torch.ones(16, 8, 3, 3)
    del state["features.3.conv.0.conv.weight"], state["features.4.conv.0.conv.weight"]
    with pytest.raises(CheckpointMismatchError) as caught:
        held(tmp_path / "net.pth", state)
    assert "2 missing: features.3" in str(caught.value)
    assert "1 left out as unused: decoder.conv.weight" in str(caught.value)
    assert caught.value.mismatch.left_out == ("decoder.conv.weight",)
    screen = Console(file=io.StringIO(), width=200)
    show_mismatch(screen, caught.value.mismatch, {"command": "inspect"})
    assert re.search(r"left out +decoder\.conv\.weight", screen.file.getvalue())
    assert not held(tmp_path / "net.pth", mobile.state_dict()).checkpoint.left_out


PERHAPS_PART = {
    "a neck behind the features": {"bnneck.weight": (1280,), "bnneck.running_mean": (1280,)},
    "a second head": {"head2.weight": (5, 1280)},
    "a calibration of the answer": {"calibration.temperature": (1,)},
    "normalisation of the input": {"normalise.mean": (1, 3, 1, 1)},
    "tensors at the top": {"mean": (3,)},
    "a dynamic layer": {"more.fc_phi.weight": (16, 4)},
    "inside the backbone": {"features.3.se.weight": (4, 4)},
}


@pytest.mark.parametrize("kind", PERHAPS_PART)
def test_what_might_take_part_is_refused_and_can_be_dropped(tmp_path, mobile, kind):
    more = {key: torch.ones(shape) for key, shape in PERHAPS_PART[kind].items()}
    state = mobile.state_dict() | more
    first = next(iter(more))
    with pytest.raises(CheckpointMismatchError, match=f"{len(more)} unexpected: {first}.* with `drop` ") as caught:
        held(tmp_path / "net.pth", state)
    assert caught.value.mismatch.unexpected == tuple(more)
    drops = re.findall(r"`drop` (\S+?)(?=;| )", f"{caught.value} ")
    fit = held(tmp_path / "net.pth", within("model.", state), drop=drops)  # as the message says
    assert same(answers(fit, IMAGES), wanted_of(mobile))


def changed(spec, change):
    """Return a network whose convolutions were changed by one of torch's utilities, in eval mode."""
    network = network_of(spec).train()
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and not name.endswith("fc.0"):
            change(module)
    network.eval()
    return network


WAYS = {
    "pruned": lambda m: prune.random_unstructured(m, "weight", 0.3),
    "weight norm": parametrizations.weight_norm,
    "old weight norm": weight_norm,
    "weight norm of the whole": lambda m: parametrizations.weight_norm(m, dim=None),
    "spectral norm": parametrizations.spectral_norm,
    "old spectral norm": spectral_norm,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore:.*weight_norm")
@pytest.mark.filterwarnings("ignore:.*is deprecated")
def test_weights_that_torch_keeps_in_parts(tmp_path, way):
    network = changed(MOBILE, WAYS[way])
    wanted = wanted_of(network)
    fit = held(tmp_path / "net.pth", network.state_dict())
    assert fit.spec == MOBILE
    assert (answers(fit, IMAGES) - wanted).abs().max() <= 1e-9 * (wanted.max() - wanted.min())
    assert any("folded into" in note for note in fit.checkpoint.notes)


def test_parts_that_do_not_belong_together_stay(tmp_path, mobile):
    state = mobile.state_dict()
    state["conv.0.weight_orig"] = state.pop("conv.0.weight")
    state["conv.0.weight_mask"] = torch.ones(3)
    with pytest.raises(CheckpointMismatchError, match="missing: conv.0.weight; 2 unexpected"):
        held(tmp_path / "net.pth", state)


def test_q_and_p_under_the_other_familys_names(tmp_path, mobile):
    state = {k.replace(".conv_q.", ".q.").replace(".conv_p.", ".p."): v for k, v in mobile.state_dict().items()}
    assert same(answers(held(tmp_path / "net.pth", state), IMAGES), wanted_of(mobile))


DYNAMIC_LAYERS = {
    "3 DCD layers": {f"body.{i}.fc_phi.weight": (16, 4) for i in range(3)},
    "2 DY-Conv layers": {
        key: shape
        for i in range(2)
        for key, shape in {
            f"{i}.conv.weight": (4, 8, 8, 3, 3),
            f"{i}.conv.attention.fc1.weight": (4, 8, 1, 1),
            f"{i}.conv.attention.fc2.weight": (4, 4, 1, 1),
        }.items()
    },
    "1 ODConv layer": {"a.weight": (4, 8, 8, 3, 3), "a.attention.kernel_fc.weight": (4, 8, 1, 1)},
    "2 CondConv layers": {
        "blocks.0.conv_pw.weight": (4, 64),
        "blocks.0.conv_pwl.weight": (4, 64),
        "blocks.0.routing_fn.weight": (4, 8),
    },
    "no dynamic layer of a kind known here": {"conv3d.weight": (4, 8, 3, 3, 3)},
}


@pytest.mark.parametrize("said", DYNAMIC_LAYERS)
def test_a_refusal_says_which_dynamic_layers_it_saw(tmp_path, said):
    state = {key: torch.ones(shape) for key, shape in DYNAMIC_LAYERS[said].items()}
    with pytest.raises(CheckpointMismatchError, match=rf"\(it holds {said}\)") as caught:
        held(tmp_path / "net.pth", state)
    assert "write a Python function that returns it and pass it with `network` FILE.py:" in str(caught.value)


def test_the_nearest_network_is_dynamic_where_the_tensors_are(tmp_path, mobile):
    state = mobile.state_dict()
    del state["features.17.conv.0.fc_phi.weight"]
    with pytest.raises(CheckpointMismatchError, match="the nearest is mobilenetv2_dcd ×0.1"):
        held(tmp_path / "net.pth", state)
    state = {k.replace("features.0.0", "features.stem"): v for k, v in mobile.state_dict().items()}
    with pytest.raises(CheckpointMismatchError, match="the nearest is mobilenetv2_dcd ×0.1"):
        held(tmp_path / "net.pth", state)
