"""A checkpoint's keys as a user's own module has them."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from dcd_deploy.errors import NetworkError
from dcd_deploy.models.checkpoint import Checkpoint, read_checkpoint
from dcd_deploy.models.trained import users_network
from dcd_deploy.models.user_network import fitted_to


def module():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.Conv2d(4, 2, 1)))


def checkpoint(state):
    return Checkpoint(Path("net.pth"), "", dict(state), "test")


def loads(found, network):
    network.load_state_dict(found.state_dict, strict=True)
    return True


@pytest.mark.parametrize("prefix", ["", "model.", "net.module.", "a.b.", "module."])
def test_prefixes(prefix):
    network = module()
    found = fitted_to(checkpoint({prefix + k: v for k, v in network.state_dict().items()}), module())
    assert loads(found, module())
    assert all(torch.equal(found.state_dict[key], value) for key, value in network.state_dict().items())


def test_what_lies_outside_is_left_out_and_said():
    state = {f"model.{k}": v for k, v in module().state_dict().items()} | {"loss.weight": torch.ones(1)}
    found = fitted_to(checkpoint(state), module())
    assert found.notes == ("prefix 'model.' taken from 9 keys", "left out: 1 keys outside the prefix (loss)")
    assert found.left_out == ("loss.weight",)
    state["model.more"] = torch.ones(1)
    assert "more" in fitted_to(checkpoint(state), module()).state_dict


def test_a_refusal_names_what_lies_outside_too(tmp_path):
    state = {f"model.{k}": v for k, v in module().state_dict().items()} | {"loss.weight": torch.ones(1)}
    torch.save(state | {"model.more": torch.ones(1)}, tmp_path / "net.pt")
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def make(): return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.Conv2d(4, 2, 1)))\n"
    )
    with pytest.raises(NetworkError, match=r"1 unexpected: more; 1 left out as unused: loss\.weight; check"):
        users_network(read_checkpoint(tmp_path / "net.pt"), f"{tmp_path / 'net.py'}:make", None, (3, 9, 9))


def test_two_or_none_stay_as_they_are():
    twice = {f"{p}.{k}": v for p in ("left", "right") for k, v in module().state_dict().items()}
    for state in (twice, {"other": torch.ones(1)}):
        assert fitted_to(checkpoint(state), module()).state_dict.keys() == state.keys()


def test_weights_in_parts():
    network = module()
    prune.random_unstructured(network[0], "weight", 0.5)
    parametrizations.weight_norm(network[2][0])
    state = {f"net.{k}": v for k, v in network.state_dict().items()}
    found = fitted_to(checkpoint(state), module())
    assert loads(found, module())
    assert torch.equal(found.state_dict["0.weight"], network[0].weight)
    same = fitted_to(checkpoint(state), network)  # a module that keeps them in parts gets them so
    assert loads(same, network)


def test_a_module_with_a_part_called_module():
    network = nn.ModuleDict({"module": module()})
    assert loads(fitted_to(checkpoint(network.state_dict()), network), network)
