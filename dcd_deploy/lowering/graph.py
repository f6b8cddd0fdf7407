"""The captured graph of a network: what passes change.

It is a ``torch.fx.GraphModule`` whose inputs are tensors and whose output is a flat tuple of tensors. Nodes are modules
(convolutions, norms, dynamic layers, …), functions and methods of tensors. Each has in its ``meta``

    "shape"    its tensor's shape for the example, or None where it is no tensor
    "place"    which layer of the trained network it belongs to (``places``)
    "within"   the path of the trained network's submodule whose forward it is part of

A dynamic layer that was recognised and proved is a ``CanonicalLayer`` at its own path until a lowering replaces it.
``copied`` gives a graph to work on: its nodes may be changed, its weights are shared.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, fx, nn

from dcd_deploy.dynamic.canonical import CanonicalLayer
from dcd_deploy.lowering.places import Place

SHAPE, PLACE, WITHIN = "shape", "place", "within"
ORIGIN = "origin"  # the path in the trained network of a layer that was put together of functions
# What Python, torch and its exported operators call one and the same.
SAME = {"iadd": "add", "imul": "mul", "isub": "sub", "itruediv": "div", "truediv": "div"}


@dataclass
class NetworkGraph:
    """``inputs`` and ``outputs`` are the names of the network's tensors; ``notes`` what its user should be told.

    ``batch`` is 1 where the graph is right for one input at a time alone, else None.
    """

    module: fx.GraphModule
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    notes: list[str] = field(default_factory=list)
    batch: int | None = None

    @property
    def nodes(self) -> Iterator[fx.Node]:
        """The nodes in their order."""
        return iter(self.module.graph.nodes)

    def submodule(self, node: fx.Node) -> nn.Module | None:
        """Return the module that a node calls; None where it calls a function or a method."""
        return self.module.get_submodule(str(node.target)) if node.op == "call_module" else None

    def layers(self) -> dict[str, CanonicalLayer]:
        """Return the dynamic layers that no lowering has replaced yet, by their paths, in the order of the network."""
        found: dict[str, CanonicalLayer] = {}
        for node in self.nodes:
            if isinstance(module := self.submodule(node), CanonicalLayer):
                found[str(node.target)] = module
        return found

    def replace_module(self, node: fx.Node, module: nn.Module) -> None:
        """Put another module at the path that a node calls."""
        parent, _, name = str(node.target).rpartition(".")
        setattr(self.module.get_submodule(parent), name, module)

    def add_module(self, path: str, module: nn.Module) -> str:
        """Add a module at a path that is free, which is ``path`` or like it; return it."""
        free, number = path, 1
        while _taken(self.module, free):
            number += 1
            free = f"{path}_{number}"
        self.module.add_submodule(free, module)
        return free

    def put_in_place(self, node: fx.Node, path: str, module: nn.Module, *operands: Any) -> None:
        """Let a module, added at ``path`` or like it, compute what a node does, of its first input or ``operands``."""
        path = self.add_module(path, module)
        with self.module.graph.inserting_before(node):
            call = self.module.graph.call_module(path, operands or (node.all_input_nodes[0],))
        node.replace_all_uses_with(copy_meta(node, call))
        self.module.graph.erase_node(node)

    def recompiled(self) -> NetworkGraph:
        """Check the graph after a change of its nodes, and compile it anew."""
        self.module.graph.eliminate_dead_code()
        self.module.graph.lint()
        self.module.recompile()
        self.module.delete_all_unused_submodules()
        return self


class Call(nn.Module):
    """A function of tensors as a module, so that its place in the network has a path, as that of a layer has."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *arguments: Any, **named: Any) -> Any:
        return self.function(*arguments, **named)

    def extra_repr(self) -> str:
        return getattr(self.function, "__name__", str(self.function))


class Method:
    """A method of tensors as a function: not one within another function, so that it can be pickled."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __call__(self, x: Tensor, *arguments: Any, **named: Any) -> Any:
        """Call the method of ``x``."""
        return getattr(x, self.__name__)(*arguments, **named)


def op_name(node: fx.Node) -> str:
    """Return what a function or method node does, in torch's words: "add" for ``+``, ``torch.add`` and ``aten.add``."""
    if node.op == "call_method":
        return str(node.target).rstrip("_")
    packet = getattr(node.target, "overloadpacket", node.target)  # aten.add of aten.add.Tensor
    name = str(getattr(packet, "__name__", packet)).rstrip("_")
    return SAME.get(name, name)


def _taken(module: nn.Module, path: str) -> bool:
    try:
        module.get_submodule(path)
    except AttributeError:
        return False
    return True


def constant_of(graph: NetworkGraph, node: fx.Node) -> Any:
    """Return the weight, or whatever else of the network, that a node reads."""
    parent, _, name = str(node.target).rpartition(".")
    return getattr(graph.module.get_submodule(parent), name)


def is_getitem(node: fx.Node) -> bool:
    """Whether a node takes one of several values."""
    return node.op == "call_function" and node.target is operator.getitem


def shape(node: fx.Node) -> tuple[int, ...] | None:
    """Return the shape of a node's tensor; None where it is no tensor."""
    found: tuple[int, ...] | None = node.meta.get(SHAPE)
    return found


def place(node: fx.Node) -> Place | None:
    """Return which layer of the trained network a node belongs to."""
    found: Place | None = node.meta.get(PLACE)
    return found


def copy_meta(source: fx.Node, target: fx.Node, **changed: Any) -> fx.Node:
    """Give a new node what is known of the one that it stands for."""
    target.meta = {**source.meta, **changed}
    return target


def copied(graph: NetworkGraph) -> NetworkGraph:
    """Return a copy; passes put other modules and weights in place of those here, and change none of them."""
    memo: dict[int, object] = {id(t): t for t in (*graph.module.parameters(), *graph.module.buffers())}
    memo |= {id(layer): layer for layer in graph.layers().values()}
    module: fx.GraphModule = copy.deepcopy(graph.module, memo)
    return NetworkGraph(module, graph.inputs, graph.outputs, list(graph.notes), graph.batch)
