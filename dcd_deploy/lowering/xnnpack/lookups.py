"""What a forward looks up in its own weights, and makes of numbers, is a weight: XNNPACK takes no index.

table[index.view(-1)].view(16, 16, -1).permute(2, 0, 1)    →   a weight (Swin's bias by relative position)
torch.arange(0, 8 * width, 8) + 4                          →   a weight (FCOS's places)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from dcd_deploy.dynamic.float64 import InFloat64
from dcd_deploy.lowering.graph import NetworkGraph, constant_of, is_getitem, op_name
from dcd_deploy.lowering.made_constants import put_constant

LOOKUPS = ("index_select", "gather", "take", "embedding", "index")
MAKERS = ("arange", "linspace", "eye", "meshgrid")
WRITES = ("setitem",)


def looked_up(graph: NetworkGraph) -> int:
    """Put weights in place of what is looked up in weights, or made of numbers, in place; return of how many."""
    values: dict[fx.Node, Any] = {}
    made: set[fx.Node] = set()  # what hangs on a lookup
    with torch.no_grad(), InFloat64():
        for node in graph.nodes:
            if not _is_steady(node) or not values.keys() >= set(node.all_input_nodes):
                continue
            values[node] = _value(graph, node, values)
            if _is_lookup(node) or made & set(node.all_input_nodes):
                made.add(node)
    ends = [node for node in made if any(user not in values for user in node.users) and _is_weight(values[node])]
    for node in ends:
        put_constant(graph, node, values[node])
    if ends:
        graph.module.graph.eliminate_dead_code()
    return len(ends)


def _is_steady(node: fx.Node) -> bool:
    """Whether a node gives the same each time, and changes nothing (``reassemble`` left few that do)."""
    if node.op not in ("call_function", "call_method"):
        return node.op == "get_attr"
    return op_name(node) not in WRITES and (bool(node.all_input_nodes) or op_name(node) in MAKERS)


def _is_lookup(node: fx.Node) -> bool:
    by_tensor = is_getitem(node) and any(isinstance(each, fx.Node) for each in _flat(node.args[1]))
    return by_tensor or (node.op != "get_attr" and op_name(node) in (*LOOKUPS, *MAKERS))


def _flat(index: Any) -> tuple[Any, ...]:
    return tuple(index) if isinstance(index, tuple | list) else (index,)


def _is_weight(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _value(graph: NetworkGraph, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
    if node.op == "get_attr":
        return constant_of(graph, node)
    args, kwargs = fx.map_arg((node.args, node.kwargs), values.__getitem__)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    return node.target(*args, **kwargs)  # type: ignore[operator]  # a function
