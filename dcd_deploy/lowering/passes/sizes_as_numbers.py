"""Sizes that do not hang on the batch, as the numbers that they are: maps have known sizes.

    x.size(2) // 2, x.shape[2:], (h, w) of x.size()   →   112, (224, 224), …

A graph keeps them as nodes, and operators that want numbers, such as poolings and interpolations, have no other way to
learn them. Which hang on the batch is seen by running the graph on one input and on two.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import fx

from dcd_deploy.dynamic.float64 import InFloat64
from dcd_deploy.lowering.graph import SHAPE, NetworkGraph, op_name
from dcd_deploy.lowering.passes.contract import Pass, PassResult

SIZES = ("size", "sym_size", "getattr", "dim", "numel")
Numbers = dict[str, Any]


class SizesAsNumbers(Pass):
    """Replace every number, or tuple of numbers, that is the same for any batch."""

    name: ClassVar[str] = "sizes as numbers"
    reason: ClassVar[str] = "operators want them as numbers"

    def apply(self, graph: NetworkGraph) -> PassResult:
        result = PassResult()
        if not any(op_name(node) in SIZES for node in graph.nodes if node.op in ("call_function", "call_method")):
            return result
        known = _known(graph)
        for node in reversed(list(graph.nodes)):
            if node.name not in known:
                continue
            for user in list(node.users):
                _write(user, node, known[node.name])
            graph.module.graph.erase_node(node)
            result.changed += 1
        return result


def _write(user: fx.Node, node: fx.Node, number: Any) -> None:
    user.args = fx.node.map_arg(user.args, lambda each: number if each is node else each)
    user.kwargs = fx.node.map_arg(user.kwargs, lambda each: number if each is node else each)


def _known(graph: NetworkGraph) -> Numbers:
    """Return by node the numbers that are no outputs and the same for any batch."""
    one = _numbers(graph, 1)
    if graph.batch != 1:
        try:
            two = _numbers(graph, 2)
        except Exception:  # noqa: BLE001 - it takes one input at a time, and raises whatever its operators raise
            two = one
        one = {name: number for name, number in one.items() if two.get(name) == number}
    given = {each for node in graph.nodes if node.op == "output" for each in node.all_input_nodes}
    return {name: number for name, number in one.items() if name not in {node.name for node in given}}


def _numbers(graph: NetworkGraph, batch: int) -> Numbers:
    entries = [node.meta[SHAPE] for node in graph.nodes if node.op == "placeholder"]
    recorder = _Recorder(graph.module)
    with torch.no_grad(), InFloat64():
        recorder.run(*(torch.zeros(batch, *shape[1:], dtype=torch.float64) for shape in entries))
    return recorder.numbers


class _Recorder(fx.Interpreter):
    """Runs a graph and keeps the numbers that its nodes give."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.numbers: Numbers = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.op in ("call_function", "call_method") and self._is_of_sizes(n):
            if type(value) in (int, float):
                self.numbers[n.name] = value
            elif isinstance(value, torch.Size | tuple | list) and value and all(type(each) is int for each in value):
                self.numbers[n.name] = tuple(value)
        return value

    def _is_of_sizes(self, n: fx.Node) -> bool:
        """Whether a node gives a size, or computes with sizes alone: what a tensor holds is another matter."""
        inputs = n.all_input_nodes
        return bool(inputs) and (op_name(n) in SIZES or all(each.name in self.numbers for each in inputs))
