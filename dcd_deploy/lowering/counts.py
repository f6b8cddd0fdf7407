"""What a captured network costs as it was trained: multiply-adds and parameters of each layer, at batch 1."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor, fx, nn

from dcd_deploy.dynamic.canonical import CanonicalLayer
from dcd_deploy.dynamic.shape import OperatorShape, macs_as_trained, shape_of, static_macs
from dcd_deploy.lowering.graph import NetworkGraph, op_name, shape

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def layer_macs(graph: NetworkGraph) -> dict[str, int]:
    """Return the multiply-adds of every layer by its path, in the network's order; of several calls their sum."""
    macs: dict[str, int] = {}
    for node in graph.nodes:
        if (found := _macs(graph, node)) is not None:
            name = str(node.target) if node.op == "call_module" else node.name
            macs[name] = macs.get(name, 0) + found
    return macs


def twin_macs(graph: NetworkGraph) -> int:
    """Return the multiply-adds of the static twin, in which what only the attention needs is gone."""
    needed = _without_operands(graph)
    total = 0
    for node in graph.nodes:
        if node not in needed:
            continue
        layer = graph.submodule(node)
        total += static_macs(shape_of(layer.operator), pixels(node)) if isinstance(layer, CanonicalLayer) else 0
        total += (_macs(graph, node) or 0) if not isinstance(layer, CanonicalLayer) else 0
    return total


def _without_operands(graph: NetworkGraph) -> set[fx.Node]:
    """Return the nodes that the outputs depend on when dynamic layers read their first operand alone."""
    needed: set[fx.Node] = set()
    waiting = [node for node in graph.nodes if node.op == "output"]
    while waiting:
        node = waiting.pop()
        if node in needed:
            continue
        needed.add(node)
        operands = node.all_input_nodes
        waiting += operands[:1] if isinstance(graph.submodule(node), CanonicalLayer) else operands
    return needed


def _macs(graph: NetworkGraph, node: fx.Node) -> int | None:
    module = graph.submodule(node)
    if isinstance(module, CanonicalLayer):
        return macs_as_trained(shape_of(module.operator), pixels(node))
    if isinstance(module, CONVOLUTIONS):
        return module.weight.numel() * pixels(node)
    if isinstance(module, TRANSPOSED):
        return module.weight.numel() * pixels(node.args[0])
    if node.op in ("call_function", "call_method") and op_name(node) in ("matmul", "bmm", "conv2d"):
        return _computed(node)
    return None


def _computed(node: fx.Node) -> int | None:
    """Return the multiply-adds by computed weights: of a layer that is left as ordinary operators."""
    output, other = shape(node), node.args[1] if len(node.args) > 1 else None
    weight = shape(other) if isinstance(other, fx.Node) else None
    if output is None or weight is None:
        return None
    return math.prod(output) * (
        math.prod(weight[1:]) if op_name(node) == "conv2d" else weight[-2] if len(weight) > 1 else weight[0]
    )


def pixels(node: object) -> int:
    """Return the positions of a node's map (N, C, …), 1 of a vector; of (N, S, C), a linear layer's, S."""
    found = (shape(node) if isinstance(node, fx.Node) else None) or (1, 1)
    return math.prod(found[2:]) if len(found) >= 4 else math.prod(found[1:-1])


def parameters(graph: NetworkGraph) -> Iterator[tuple[str, int]]:
    """Yield (path, numbers) of every layer with weights; of a dynamic one those of its canonical operator."""
    for path, module in graph.module.named_modules():
        if isinstance(module, CanonicalLayer):
            yield path, operator_parameters(shape_of(module.operator), module)
        elif own := sum(p.numel() for p in module.parameters(recurse=False)):
            yield path, own


def twin_parameters(graph: NetworkGraph) -> int:
    """Return the numbers of the static twin, in which what only the attention needs is gone.

    The convolutions in the places of dynamic layers count their kernels alone, as ``parameters`` counts terms alone.
    """
    paths = {str(node.target) for node in _without_operands(graph) if node.op == "call_module"}
    layers = graph.layers()
    total = sum(count for path, count in parameters(graph) if path in paths and path not in layers)
    for path, layer in layers.items():
        total += shape_of(layer.operator).kernel_size if path in paths else 0
    return total


def operator_parameters(sizes: OperatorShape, layer: CanonicalLayer) -> int:
    """Return the numbers that a dynamic layer's terms and attention consist of, without its norms."""
    tensors = (value for term in layer.operator.terms for value in vars(term).values() if isinstance(value, Tensor))
    shifts = ("query_shift", "mixed_shift")
    folded = (getattr(term, name, None) for term in layer.operator.terms for name in shifts)
    norms = sum(value.numel() for value in folded if isinstance(value, Tensor))
    return sizes.attention_macs + sum(value.numel() for value in tensors) - norms
