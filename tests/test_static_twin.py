"""The static twin of any network, and what networks cost, counted from their graphs."""

import pytest
import torch
from foreign_networks import NETWORKS

from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.counts import layer_macs, twin_macs
from dcd_deploy.lowering.network import network_of
from dcd_deploy.lowering.static_twin import mean_heads, static_twin
from dcd_deploy.models.random_weights import calibrated_network
from dcd_deploy.models.spec import NetworkSpec


@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"shared"}))  # whose one layer has two means
def test_the_twin_of_one_input_is_the_network_on_it(name):
    module, example = NETWORKS[name]()
    network = network_of(module, example)
    captured = capture(network)
    means = mean_heads(captured, [network.examples])
    twin = static_twin(captured, means)
    assert not twin.graph.layers()
    with torch.no_grad():
        for ours, theirs in zip(twin.graph.module(*network.examples), network.run(*network.examples), strict=True):
            assert float((ours - theirs).abs().max()) <= 1e-10 * float(theirs.max() - theirs.min())


def test_the_twin_of_several_inputs_is_another_network():
    module, example = NETWORKS["grey"]()
    network = network_of(module, example)
    captured = capture(network)
    inputs = torch.randn(4, 1, 45, 61).double() * torch.tensor([0.1, 1.0, 3.0, 9.0]).view(4, 1, 1, 1)
    twin = static_twin(captured, mean_heads(captured, [(inputs,)]))
    with torch.no_grad():
        assert not torch.allclose(twin.graph.module(inputs)[0], network.run(inputs)[0], rtol=1e-3)


@pytest.mark.parametrize(
    ("spec", "dynamic", "static"),
    [
        (NetworkSpec("mobilenetv2_dcd", 1000, 1.0, 16), 398.4e6, 300.8e6),
        (NetworkSpec("mobilenetv2_dcd", 1000, 0.5, 8), 132.2e6, 97.1e6),
        (NetworkSpec("resnet18_dcd", 1000), 1.883e9, 1.814e9),
    ],
)
def test_published_networks_cost_what_is_published(spec, dynamic, static):
    graph = capture(network_of(calibrated_network(spec, 64), torch.randn(1, 3, 224, 224))).graph
    assert sum(layer_macs(graph).values()) == pytest.approx(dynamic, rel=1e-3)
    assert twin_macs(graph) == pytest.approx(static, rel=1e-3)
