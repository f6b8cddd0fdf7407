"""One layer in one lowering as a model file, with the neighbours that decide in which layout its maps come and go.

    reads a sum (here: the input)     layer → its activation → depthwise
    any other, with an activation     depthwise → layer → its activation → depthwise
    without                           (depthwise →) layer
    in float16 and int8, all          depthwise → layer → its activation → depthwise

Depthwise layers are cheap, and are what real neighbours have in common: constant weights. Theirs are random, on which
latency does not depend; the layer's own are those of the network. In float16 and int8 they also see to it that maps
come and go in that precision, as they do in a network: a layer by itself, between an input and an output in float32,
would be quicker in lowerings that compute in float32 within an int8 file. What its attention reads, where that is not
its input, is a second input.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, fx, nn

from dcd_deploy.artifacts import FLOAT32
from dcd_deploy.dynamic.canonical import CanonicalLayer
from dcd_deploy.lowering.annotate import ACTIVATIONS, annotate_places, annotate_shapes
from dcd_deploy.lowering.capture import Captured, NamedGraph
from dcd_deploy.lowering.deploy import lower
from dcd_deploy.lowering.graph import NetworkGraph
from dcd_deploy.lowering.layers import conv_of
from dcd_deploy.lowering.network import Network
from dcd_deploy.lowering.static_twin import mean_heads, static_twin
from dcd_deploy.lowering.targets import Target
from dcd_deploy.tuning.layer_case import LayerGroup
from dcd_deploy.tuning.layer_file import layer_file

STATIC = "static"  # in place of a lowering: the layer of the static twin
LAYER = "layer"
INPUT, OPERAND, OUTPUT = "input", "operand", "output"
SEED = 0


def write_layer_model(group: LayerGroup, lowering: str, target: Target, path: Path) -> None:
    """Write the group's layer in ``lowering``, or as the static twin has it (STATIC), to ``path``.

    Raises:
        ExportError: the converter refused it.
    """
    captured, examples = among_neighbours(group, everywhere=target.precision != FLOAT32)
    if lowering == STATIC:
        captured, examples = _static(captured, examples), examples[:1]
        deploy = lower(captured, target)
    else:
        deploy = lower(captured, target, {LAYER: lowering})
    path.write_bytes(layer_file(deploy, target, examples))


def among_neighbours(group: LayerGroup, *, everywhere: bool = False) -> tuple[Captured, tuple[Tensor, ...]]:
    """Return the layer with its neighbours as a captured network, and examples of its inputs.

    They stand on both sides of every layer where that is ``everywhere``.
    """
    case, g = group.case, group.case.shape.geometry
    random = torch.Generator().manual_seed(SEED)
    shapes = ((g.C, case.size.in_height, case.size.in_width), *([case.operand] if case.operand else []))
    examples = tuple(torch.randn(1, *one, generator=random, dtype=torch.float64) for one in shapes)
    before = [_depthwise(g.C, random), nn.ReLU6()] if everywhere or not case.follows_sum else []
    activation = [_activation(case.activation)] if case.activated else []
    after = [*activation, _depthwise(g.K, random), nn.ReLU6()] if everywhere or case.activated else []
    graph = _graph(before, CanonicalLayer(group.operator), after, len(examples))
    annotate_shapes(graph.module, *examples)
    annotate_places(graph)
    network = Network(NamedGraph(graph), examples, graph.inputs, graph.outputs)
    return Captured(network, graph, {LAYER: group.operator}, {}), examples


def _static(captured: Captured, examples: tuple[Tensor, ...]) -> Captured:
    """Return the static twin, which reads the first input alone."""
    twin = static_twin(captured, mean_heads(captured, [examples]))
    for node in list(twin.graph.nodes):
        if node.op == "placeholder" and not node.users:
            twin.graph.module.graph.erase_node(node)
    twin.graph.recompiled().inputs = (INPUT,)
    return twin


def _graph(before: list[nn.Module], layer: CanonicalLayer, after: list[nn.Module], inputs: int) -> NetworkGraph:
    """Return the graph of modules in a row, of which the layer may read a second input."""
    root, graph = nn.Module(), fx.Graph()
    first, *others = (graph.placeholder(name) for name in (INPUT, OPERAND)[:inputs])
    node = first
    named = {f"before_{i}": one for i, one in enumerate(before)} | {LAYER: layer}
    named |= {f"after_{i}": one for i, one in enumerate(after)}
    for name, module in named.items():
        root.add_module(name, module)
        node = graph.call_module(name, (node, *(others if module is layer else ())))
    graph.output((node,))
    return NetworkGraph(fx.GraphModule(root, graph).eval(), (INPUT, OPERAND)[:inputs], (OUTPUT,))


def _depthwise(channels: int, random: torch.Generator) -> nn.Conv2d:
    weight = torch.randn(channels, 1, 3, 3, generator=random, dtype=torch.float64) / 3
    bias = torch.randn(channels, generator=random, dtype=torch.float64) / 3
    return conv_of(weight, bias, 1, 1, channels)


def _activation(name: str) -> nn.Module:
    """Return the activation of that name, in torch's words; of one with settings the usual ones, ReLU6 for a clamp."""
    plain = name.replace("_", "")
    kinds = {kind.lower(): kind for kind in nn.modules.activation.__all__}
    if plain in ("clamp", "clip", "hardtanh") or plain not in kinds:
        assert name in ACTIVATIONS or plain in kinds, name
        return nn.ReLU6()
    kind: type[nn.Module] = getattr(nn, kinds[plain])
    return kind().double()
