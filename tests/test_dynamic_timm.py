"""timm's own networks with CondConv: each of their dynamic layers is recognised and proved, and nothing else is."""

import pytest
import timm_networks
import torch

from dcd_deploy.dynamic.operator import DynamicOperator
from dcd_deploy.dynamic.recognise import candidates, recognise

PER_BLOCK = 3  # an expansion, a depthwise convolution and a projection, of one routing
BLOCKS = {"tf_efficientnet_cc_b0_4e": (8, 4), "tf_efficientnet_cc_b1_8e": (11, 8)}


@pytest.mark.parametrize(("name", "side"), [("tf_efficientnet_cc_b0_4e", 64), ("tf_efficientnet_cc_b1_8e", 72)])
def test_every_layer_is_proved(name, side):
    network = timm_networks.network(name)
    seen = timm_networks.arguments(network, torch.randn(1, 3, side, side))
    readings = {path: candidates(part) for path, part in network.named_modules()}
    layers = [path for path, answer in readings.items() if answer is not None]
    blocks, experts = BLOCKS[name]
    assert len(layers) == blocks * PER_BLOCK
    assert all(path.rpartition(".")[2] in {"conv_pw", "conv_dw", "conv_pwl"} for path in layers)
    for path in layers:
        operator = recognise(network.get_submodule(path), seen[path])
        assert isinstance(operator, DynamicOperator), f"{path}: {operator}"
        assert operator.family == "condconv"
        assert not operator.attention.own
        assert len(operator.terms[0].bank) == experts
