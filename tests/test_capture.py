"""Capture: any module becomes a graph that computes the same in float64, or is refused in words."""

import copy

import pytest
import torch
import torch.nn.functional as F
from capturing import assert_same, captured_of, outputs
from foreign_networks import DYNAMIC_LAYERS, NETWORKS, conv3
from mixture_layers import MixedKernels
from torch import nn
from torch.nn.utils import prune

from dcd_deploy.errors import CaptureError
from dcd_deploy.lowering import capture as capturing
from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.network import network_of
from dcd_deploy.lowering.passes.drop_dropout import DropDropout
from dcd_deploy.lowering.passes.fold_norms import NORMS, FoldNorms


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("way", ["fx", "export"])
def test_the_graph_is_the_module(name, way, monkeypatch):
    module, example = NETWORKS[name]()
    if way == "export":
        monkeypatch.setattr(capturing, "_by_fx", lambda *_: 1 / 0)
    network = network_of(module, example)
    captured = capture(network)
    assert set(captured.operators) == DYNAMIC_LAYERS[name]
    assert set(captured.graph.layers()) == DYNAMIC_LAYERS[name]
    assert_same(captured.graph, network)
    for one in (DropDropout(), FoldNorms()):
        one(captured.graph)
        assert_same(captured.graph, network)


@pytest.mark.parametrize("name", ["segmenter", "grey", "two inputs", "plain", "shape flow"])
def test_the_batch_stays_free(name):
    module, example = NETWORKS[name]()
    network = network_of(module, example)
    graph = capture(network).graph
    assert_same(graph, network, tuple(torch.randn(3, *one.shape[1:]).double() for one in example))


def test_every_norm_behind_a_layer_is_folded():
    module, example = NETWORKS["segmenter"]()
    graph = captured_of(module, *example).graph
    result = FoldNorms()(graph)
    assert result.changed == 5
    assert result.refusals == []
    assert not [node for node in graph.nodes if isinstance(graph.submodule(node), NORMS)]


def test_a_norm_that_cannot_be_folded_stays_and_is_reported():
    class PreActivation(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.norm, self.conv = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)

        def forward(self, x):
            y = self.first(x)
            return self.conv(F.relu(self.norm(y))) + y.mean()

    graph = captured_of(PreActivation().eval(), torch.randn(1, 3, 8, 8)).graph
    (refusal,) = FoldNorms()(graph).refusals
    assert refusal.path == "norm"
    assert "'first' before it is read by others too" in refusal.reason


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, 2, 1, bias=True),
        nn.Conv2d(4, 6, 3, dilation=2, padding=2, bias=False),
        nn.Conv2d(4, 6, (3, 1), padding=(1, 0), groups=2),
        nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"),
        nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, groups=2),
        nn.ConvTranspose2d(4, 6, 2, 2, bias=False, dilation=2),
        conv3(4, 6, 2),
    ],
    ids=str,
)
def test_folds_keep_all_settings(layer):
    from foreign_networks import calibrated

    module = calibrated(nn.Sequential(copy.deepcopy(layer), nn.BatchNorm2d(6)), torch.randn(1, 4, 11, 9))
    network = network_of(module, torch.randn(2, 4, 11, 9))
    graph = capture(network).graph
    assert FoldNorms()(graph).changed == 1
    assert_same(graph, network)


def test_linear_and_one_dimensional_norms_fold():
    from foreign_networks import calibrated

    module = calibrated(nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.ReLU()), torch.randn(1, 5))
    network = network_of(module, torch.randn(1, 5))
    graph = capture(network).graph
    assert FoldNorms()(graph).changed == 1
    assert_same(graph, network)


def test_what_changes_its_operand_is_seen_by_later_readers():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.relu = nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True)

        def forward(self, x):
            y = self.conv(x)
            z = self.relu(y)
            y += 1
            y.mul_(2)
            return y + z

    for way in ("fx", "export"):
        network = network_of(InPlace().eval(), torch.randn(1, 3, 5, 5))
        with pytest.MonkeyPatch.context() as patch:
            if way == "export":
                patch.setattr(capturing, "_by_fx", lambda *_: 1 / 0)
            graph = capture(network).graph
        assert_same(graph, network)
        assert not [node for node in graph.nodes if str(node.target).endswith("_")]


class Assigning(nn.Module):
    """Changes parts of a map."""

    def __init__(self):
        super().__init__()
        self.dynamic, self.norm, self.conv = MixedKernels(C=6, K=4), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        y = F.relu(self.norm(self.dynamic(x)), inplace=True)
        y[:, 0] = y[:, 0] * 2
        y[..., ::2] += 1
        y[:, 1, :, 0].mul_(3)
        return self.conv(y)


def test_parts_that_are_assigned_are_seen_by_later_readers():
    network = network_of(Assigning().eval(), torch.randn(1, 6, 9, 8))
    captured = capture(network)
    assert set(captured.operators) == {"dynamic"}
    assert_same(captured.graph, network)
    assert FoldNorms()(captured.graph).changed == 1
    assert_same(captured.graph, network, (torch.randn(3, 6, 9, 8).double(),))


def test_a_subclass_that_overrides_forward_is_followed():
    class Padded(nn.Conv2d):
        def forward(self, x):
            return F.conv2d(F.pad(x, (1, 0, 1, 0)), self.weight, self.bias, self.stride)

    class Renamed(nn.Conv2d):
        """Changes nothing."""

    module = nn.Sequential(Padded(3, 4, 2), nn.BatchNorm2d(4), Renamed(4, 2, 1)).eval()
    network = network_of(module, torch.randn(1, 3, 9, 9))
    graph = capture(network).graph
    assert FoldNorms()(graph).changed == 1
    assert_same(graph, network)


def test_a_module_in_training_mode_is_exported_in_eval_form_and_stays_as_it_is():
    module, example = NETWORKS["grey"]()
    module.train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    network = network_of(module, example)
    assert any("training mode" in note for note in network.notes)
    assert module.training
    capture(network)
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


def test_half_precision_weights_are_taken_as_they_are():
    module, example = NETWORKS["grey"]()
    half = copy.deepcopy(module).half()
    network = network_of(half, example)
    assert any("float16" in note for note in network.notes)
    wanted = copy.deepcopy(half).double()(example[0].double())
    torch.testing.assert_close(network.run(*network.examples)[0], wanted)


def test_a_submodule_is_kept_whole_where_that_is_asked_for():
    module, example = NETWORKS["segmenter"]()
    captured = capture(network_of(module, example), leaf=("merge",))
    assert "merge.layer" not in captured.operators
    assert "merge" in {str(node.target) for node in captured.graph.nodes if node.op == "call_module"}
    with pytest.raises(CaptureError, match="'nowhere'"):
        capture(network_of(module, example), leaf=("nowhere",))


@pytest.mark.parametrize("kind", ["prune", "weight_norm", "parametrized"])
def test_weights_that_are_computed_before_each_call_are_constants(kind):
    module, example = NETWORKS["segmenter"]()
    if kind == "prune":
        prune.l1_unstructured(module.up, "weight", 0.3)
        prune.l1_unstructured(module.down.layer.fc_phi, "weight", 0.5)
    elif kind == "weight_norm":
        torch.nn.utils.parametrizations.weight_norm(module.edges)
    else:
        torch.nn.utils.parametrizations.spectral_norm(module.mask)
    module.eval()
    wanted = {key: value.detach() for key, value in module(*example).items()}
    network = network_of(module, example)
    captured = capture(network)
    assert set(captured.operators) == DYNAMIC_LAYERS["segmenter"]
    for ours, theirs in zip(outputs(captured.graph, network.examples), wanted.values(), strict=True):
        torch.testing.assert_close(ours.float(), theirs, rtol=1e-4, atol=1e-5)


def test_names_of_outputs():
    from dcd_deploy.lowering.outputs import flat

    one = torch.zeros(1)
    assert list(flat(one)) == ["output"]
    assert list(flat((one, one))) == ["output_0", "output_1"]
    assert list(flat({"mask": one, "levels": [one, one], "none": None})) == ["mask", "levels_0", "levels_1"]


def test_places_are_those_of_the_trained_network():
    module, example = NETWORKS["segmenter"]()
    graph = captured_of(module, *example).graph
    places = {node.name: node.meta["place"] for node in graph.nodes if "place" in node.meta}
    assert places["stem_layer"].layer == "stem.layer"
    assert (places["deep_activation"].layer, places["deep_activation"].inside) == ("deep.layer", "activation")


@pytest.mark.parametrize("seed", range(4))
def test_an_output_of_one_value_has_no_range(seed):
    """A regression's, or that of two classes: rounding alone tells the graph from the module."""
    torch.manual_seed(seed)
    module = nn.Sequential(MixedKernels(C=6, K=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    assert set(capture(network_of(module, torch.randn(1, 6, 9, 7))).operators) == {"0"}


class Filtered(nn.Module):
    """A functional depthwise convolution; fx cannot follow a forward that asks for the size first."""

    def __init__(self, asks: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.asks = asks
        self.first, self.weight = nn.Conv2d(3, 16, 3, 2, 1), nn.Parameter(torch.randn(16, 1, 3, 3))
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.first(x)
        if self.asks and x.shape[2] % 2 == 0:
            x = F.pad(x, (0, 1, 0, 1))
        return self.head(F.conv2d(x, self.weight, None, 2, 0, 1, 16).mean((2, 3)))


@pytest.mark.parametrize("asks", [False, True], ids=["fx", "torch.export"])
def test_a_depthwise_convolution_stays_one(asks, monkeypatch):
    """Not the sum over taps by which the reference computes it, whose sizes are the example's."""
    if not asks:
        monkeypatch.setattr(capturing, "graph_by_export", lambda *_: 1 / 0)
    network = network_of(Filtered(asks), (torch.randn(1, 3, 16, 16),))
    graph = capture(network).graph
    assert len(graph.module.graph.nodes) < 12
    assert_same(graph, network, (torch.randn(3, 3, 16, 16, dtype=torch.float64),))
