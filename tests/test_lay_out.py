"""Laying a network out channels last: the same numbers in float64, whatever it consists of, and what it costs."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from laying import check_exact, graph_of, laid_out
from laying_cases import CASES, example, layer, of
from random_networks import RandomNetwork, plans
from torch import nn

from dcd_deploy.lowering.annotate import annotate_shapes
from dcd_deploy.lowering.channels_last import table
from dcd_deploy.lowering.channels_last.layout import Layout
from dcd_deploy.lowering.channels_last.parts import Conv
from dcd_deploy.lowering.channels_last.settings import MODULES, name_and_settings
from dcd_deploy.lowering.passes.contract import ContractError
from dcd_deploy.lowering.passes.lay_out import LayOut

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch's own remark on even kernels


@pytest.mark.parametrize("name", CASES)
def test_every_operator_computes_the_same(name):
    check_exact(CASES[name], example())


def test_every_entry_has_a_case():
    seen = set()
    for module in CASES.values():
        graph = graph_of(module, example().double())
        seen |= {name_and_settings(node, graph.submodule(node))[0] for node in graph.nodes if node.op != "output"}
    assert table.TABLE.keys() <= seen, table.TABLE.keys() - seen
    assert set(MODULES.values()) <= seen, set(MODULES.values()) - seen


@given(plan=plans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_random_networks_compute_the_same(plan):
    network, inputs = RandomNetwork(plan), plan.example()
    check_exact(network, inputs)


# What each entry would be if it forgot the layout: it has to be noticed.
FORGETFUL = {
    "cat": lambda site: site.call(torch.cat, Layout.LAST, [site.take(v, Layout.LAST) for v in site.node.args[0]], 1),
    "softmax": lambda site: site.call(torch.softmax, Layout.LAST, site.take(site.operand, Layout.LAST), 1),
    "flatten": lambda site: site.call(torch.flatten, Layout.PLAIN, site.take(site.operand, Layout.LAST), 1),
    "mul": lambda site: site.again(
        Layout.LAST, lambda value: site.take(value, Layout.LAST if value.args else Layout.PLAIN)
    ),
    "max_pool2d": lambda site: site.again(Layout.LAST, lambda value: site.take(value, Layout.LAST)),
}
MUST_DIFFER = {
    "cat": of(lambda m, x: torch.cat([x, x.relu()], 1)[:, :4]),
    "softmax": CASES["softmax"],
    "flatten": CASES["flatten of pixels"],
    "mul": of(lambda m, x: x * m.s, channels=7, s=nn.Parameter(torch.rand(7, 1, 1))),
    "max_pool2d": layer(nn.MaxPool2d(3, 1, 1)),
}


@pytest.mark.parametrize("name", FORGETFUL)
def test_an_entry_that_forgets_the_layout_is_noticed(monkeypatch, name):
    monkeypatch.setitem(table.TABLE, name, FORGETFUL[name])
    with pytest.raises((AssertionError, RuntimeError)):
        check_exact(MUST_DIFFER[name], example())


def test_a_pooling_that_pads_by_zeros_is_noticed(monkeypatch):
    """Of a map that is negative everywhere, zeros around it are the largest values."""
    negative = of(lambda m, x: F.max_pool2d(-x.abs() - 1, 3, 2, 1)[..., :1, :1])
    check_exact(negative, example())
    monkeypatch.setattr("dcd_deploy.lowering.channels_last.pooling.LOWEST", 0.0)
    same = "dcd_deploy.lowering.channels_last.pooling.Windows.same"
    monkeypatch.setattr(same, lambda windows, x: False)
    with pytest.raises(AssertionError):
        check_exact(negative, example())


def test_a_network_of_maps_has_no_transposition():
    """Nor has what a user turns to channels last by hand."""
    block = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU6(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 1), nn.SiLU())
    for module in (block, CASES["linear of pixels"], CASES["view to a map"], CASES["mean in two steps"]):
        graph, costs = check_exact(module, example())
        assert not costs
        kinds = [type(graph.submodule(node)).__name__ for node in graph.nodes if node.op == "call_module"]
        assert kinds.count("ToLast") == 1, "the input alone"
        assert kinds.count("ToFirst") <= 1, "the output alone"


def test_what_is_not_laid_out_is_listed_with_its_bytes():
    module = of(lambda m, x: m.other(F.glu(x, 1)), channels=4, other=nn.Conv2d(2, 2, 1))
    graph = graph_of(module, example().double())
    (before, after) = LayOut()(graph).refusals
    assert before.reason == "glu is not laid out (it has no form channels last): 2,016 bytes are transposed before it"
    assert after.reason == "glu is not laid out (it has no form channels last): 1,008 bytes are transposed after it"
    assert before.path == after.path == "glu"


def test_an_operator_without_an_entry_costs_what_it_reads_and_gives(monkeypatch):
    monkeypatch.delitem(table.TABLE, "silu")
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.SiLU(), nn.Conv2d(4, 2, 1))
    _, costs = check_exact(module, example())
    assert [cost.rpartition(":")[2] for cost in costs] == [
        " 2,016 bytes are transposed before it",
        " 2,016 bytes are transposed after it",
    ]


def test_each_value_is_transposed_once_for_all_that_read_it():
    module = of(lambda m, x: F.glu(x, 1) + F.glu(x, 1) * F.glu(x, -3))
    graph, costs = check_exact(module, example())
    kinds = [type(graph.submodule(node)).__name__ for node in graph.nodes if node.op == "call_module"]
    assert kinds.count("ToFirst") == 1
    assert len(costs) == 1


def test_an_output_that_is_an_input():
    check_exact(of(lambda m, x: (x, x)), example())
    check_exact(nn.Identity(), example())


def test_several_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.shift = nn.Conv2d(3, 4, 1), nn.Linear(6, 4)

        def forward(self, x, code):
            return self.conv(x) + self.shift(code)[:, :, None, None], code.tanh()

    _, costs = check_exact(Two(), example(), torch.randn(2, 6))
    assert not costs


def test_one_module_serves_for_all_calls_of_a_layer():
    graph, _ = check_exact(CASES["conv2d twice"], example())
    convolutions = [node.target for node in graph.nodes if isinstance(graph.submodule(node), Conv)]
    assert convolutions == ["conv_conv", "layer_conv", "layer_conv"]


def test_a_layer_that_is_called_as_ours_would_be_is_not_taken_for_it():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.stem_conv = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
            self.x_last = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return self.stem(self.x_last(self.stem_conv(self.stem(x))))

    check_exact(Net(), example())


def test_shapes_are_required():
    graph = graph_of(nn.Conv2d(3, 4, 1), example().double())
    for node in graph.nodes:
        node.meta.pop("shape", None)
    with pytest.raises(ContractError, match="shapes"):
        LayOut()(graph)


def test_shapes_are_those_of_the_laid_out_values():
    for name in ("cat", "chunk", "linear", "view to a map", "interpolate bilinear", "mean of channels alone"):
        graph, _ = laid_out(CASES[name], example().double())
        noted = {node: node.meta.get("shape") for node in graph.nodes}
        annotate_shapes(graph.module, example().double())
        assert noted == {node: node.meta.get("shape") for node in graph.nodes}


@pytest.mark.parametrize("pool", [nn.AdaptiveAvgPool2d(1), nn.AvgPool2d(1), nn.MaxPool2d(1)], ids=repr)
def test_a_pooling_of_one_pixel_is_nothing(pool):
    graph, _ = check_exact(nn.Sequential(nn.Conv2d(3, 4, 1), pool), torch.randn(2, 3, 1, 1))
    program = torch.export.export(graph.module, (torch.randn(2, 3, 1, 1, dtype=torch.float64),), strict=False)
    assert "pool" not in " ".join(str(node.target) for node in program.graph.nodes if node.op == "call_function")
