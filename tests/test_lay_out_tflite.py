"""Networks laid out channels last, as TFLite's interpreter computes them: by its plain kernels and by XNNPACK's."""

import numpy as np
import pytest
from foreign_networks import NETWORKS
from laying import FLOAT32, error, laid_out, values_of
from laying_cases import CASES, example
from random_networks import Plan, RandomNetwork
from torch import nn

from dcd_deploy.export.deployable import deployable
from dcd_deploy.export.tflite.convert import convert_tflite
from dcd_deploy.export.tflite.file import tflite_stats
from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.deploy import lower
from dcd_deploy.lowering.network import network_of
from dcd_deploy.lowering.targets import LITERT
from dcd_deploy.runtimes.litert import LiteRtSession
from dcd_deploy.samples import InputSpec

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")
BUNDLES = 8


class Together(nn.Module):
    """Several networks of the same input, whose outputs are given together."""

    def __init__(self, networks):
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x):
        return tuple(network(x) for network in self.networks)


def last(values):
    """Return maps as they are in the file."""
    return values.transpose(0, 2, 3, 1) if values.ndim == 4 else values


def check_tflite(deploy, module, *inputs, batch):
    """Convert a deploy graph and compare its outputs with the module's; return the operators of the file."""
    wanted = [last(value.numpy()) for value in values_of(module, *inputs)]
    names = tuple(f"output_{i}" for i in range(len(wanted)))
    specs = tuple(InputSpec(f"input_{i}", tuple(x.shape[1:])) for i, x in enumerate(inputs))
    content = convert_tflite(deployable(deploy), specs, names, batch)
    for xnnpack in (False, True):
        runner = LiteRtSession(content, 1, xnnpack=xnnpack).interpreter.get_signature_runner()
        feeds = [np.ascontiguousarray(last(x.float().numpy())) for x in inputs]
        found = runner(**dict(zip(sorted(runner.get_input_details()), feeds, strict=True)))
        for name, value in zip(names, wanted, strict=True):
            assert error((found[name],), (value,)) <= FLOAT32, f"{name}, XNNPACK {xnnpack}"
    return tflite_stats(content).operators


@pytest.mark.parametrize("part", range(BUNDLES))
def test_every_operator_as_tflite_computes_it(part):
    cases = [case for name, case in CASES.items() if name != "fold"]  # ``FoldByConvolution`` takes it before
    module = Together(cases[part::BUNDLES]).double().eval()
    x = example().double()
    graph, _ = laid_out(module, x)
    check_tflite(graph.module, module, x, batch=len(x))


PLANS = [
    Plan(3, 17, 12, ("strided", "residual", "excite", "skip", "split"), (1, 0, 2, 1, 6), "both", 1),
    Plan(1, 13, 15, ("depthwise", "pool", "transposed", "average", "norm"), (4, 6, 3, 1, 0), "both", 2),
    Plan(4, 9, 16, ("grouped", "up", "pad", "attend", "interleave"), (2, 1, 1, 0, 3), "both", 3),
    Plan(3, 11, 11, ("shuffle", "channels last", "group norm", "up", "average"), (5, 0, 2, 2, 7), "both", 4),
]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: "-".join(plan.blocks))
def test_networks(plan):
    network, x = RandomNetwork(plan), plan.example()[:1]
    graph, _ = laid_out(network, x)
    check_tflite(graph.module, network, x, batch=1)


@pytest.mark.parametrize("name", ["segmenter", "grey", "two inputs"])
def test_dynamic_layers_of_foreign_networks(name):
    """Nothing around them is transposed."""
    module, inputs = NETWORKS[name]()
    network = network_of(module, inputs)
    deploy = lower(capture(network), LITERT)
    assert not [note for note in deploy.notes if "transposed" in note]

    class Reference(nn.Module):
        def forward(self, *values):
            return network.run(*values)

    operators = check_tflite(deploy.module, Reference(), *network.examples, batch=1)
    assert "TRANSPOSE" not in operators
