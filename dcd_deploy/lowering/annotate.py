"""Notes on the nodes of a captured graph: whose part each is, and the shape of its value.

A node belongs to a layer of the trained network; shapes are those of one run on an example.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from dcd_deploy.dynamic.canonical import CanonicalLayer
from dcd_deploy.dynamic.float64 import InFloat64
from dcd_deploy.lowering.graph import ORIGIN, PLACE, SHAPE, WITHIN, NetworkGraph, op_name
from dcd_deploy.lowering.places import ACTIVATION, DYNAMIC, INPUT, RESIDUAL, STATIC, Place

ACTIVATIONS = frozenset(
    {"relu", "relu6", "hardtanh", "clamp", "clip", "sigmoid", "hardsigmoid", "hardswish", "silu", "tanh", "leaky_relu"}
    | {"prelu", "gelu", "elu", "softplus", "mish", "selu", "celu"}
)
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d
MODULES = frozenset(name.replace("_", "") for name in ACTIVATIONS)  # as torch's classes spell them


def annotate_places(graph: NetworkGraph) -> None:
    """Note the place of every node that computes something in its ``meta``."""
    layers: dict[fx.Node, tuple[int, str]] = {}  # by node: when its layer came, and the layer
    for order, node in enumerate(graph.nodes):
        if node.op == "placeholder":  # what is made of it alone, such as its other layout, is before the first layer
            node.meta[PLACE] = Place(INPUT, STATIC)
        if node.op in ("placeholder", "output", "get_attr"):
            continue
        node.meta[WITHIN] = _within(node)
        _, before = max((layers[one] for one in node.all_input_nodes if one in layers), default=(0, INPUT))
        module = graph.submodule(node)
        if module is not None and not _follows(node, module, before):
            path = str(node.meta.get(ORIGIN, node.target))
            node.meta[PLACE] = Place(path, DYNAMIC if isinstance(module, CanonicalLayer) else STATIC)
            layers[node] = (order, path)
        else:
            node.meta[PLACE] = Place(before, _inside(node, module))
            layers[node] = max((layers[one] for one in node.all_input_nodes if one in layers), default=(0, INPUT))


def _within(node: fx.Node) -> str:
    """Return the path of the submodule whose forward a node is part of, as whichever tracer noted it."""
    stack = node.meta.get("nn_module_stack")
    path = str(next(reversed(stack.values()))[0]) if stack else ""
    return path.removeprefix("L['self']").removeprefix(".")


def _follows(node: fx.Node, module: nn.Module, before: str) -> bool:
    """Whether a module is part of the layer before it: its activation or its norm."""
    return is_activation(node, module) or (isinstance(module, BatchNorm) and before != INPUT)


def _inside(node: fx.Node, module: nn.Module | None) -> str:
    if module is not None or is_activation(node, module):
        return "norm" if isinstance(module, BatchNorm) else ACTIVATION
    return RESIDUAL if op_name(node) == "add" else f"{STATIC}.{op_name(node)}"


def is_activation(node: fx.Node, module: nn.Module | None) -> bool:
    """Whether a node computes each value from the value in its place alone."""
    if module is None:
        return node.op in ("call_function", "call_method") and op_name(node) in ACTIVATIONS
    return type(module).__module__ == "torch.nn.modules.activation" and type(module).__name__.lower() in MODULES


def annotate_shapes(graph: fx.GraphModule, *examples: Tensor) -> Any:
    """Fill in ``meta["shape"]`` of every node: its tensor's shape, or None where it gives no tensor, or several.

    The graph is run once, without gradients, on ``examples``, which are its inputs; what it gives is returned.
    """
    with torch.no_grad(), InFloat64():
        return _Shapes(graph).run(*examples)


class _Shapes(fx.Interpreter):
    """Runs a graph and notes the shape of what each node gives."""

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        n.meta[SHAPE] = tuple(int(size) for size in value.shape) if isinstance(value, Tensor) else None
        return value
