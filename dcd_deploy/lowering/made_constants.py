"""What a forward makes of numbers alone becomes a weight, as torch.fx has it; torch.export writes it out.

    aten.eye(16) → aten.view → bmm(x, ·)     →   bmm(x, buffer)

What one number fills stays as it is where it is large: a file would only grow. A recurrent layer's first state is
small, and ExecuTorch's delegate makes none.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch._ops import OpOverload

from dcd_deploy.dynamic.float64 import InFloat64
from dcd_deploy.lowering.graph import NetworkGraph, copy_meta, is_getitem

UNSET = "empty"
FEW = 4096  # numbers


def fold_constants(graph: NetworkGraph) -> None:
    """Put weights in place of what hangs on no input and no weight, in place."""
    values: dict[fx.Node, Any] = {}
    with torch.no_grad(), InFloat64():
        for node in graph.nodes:
            known = values.keys() >= set(node.all_input_nodes)
            if node.op == "call_function" and known and (is_getitem(node) or _is_steady(node.target)):
                args, kwargs = fx.map_arg((node.args, node.kwargs), values.__getitem__)
                values[node] = node.target(*args, **kwargs)  # type: ignore[operator]  # a function
    for node, value in values.items():
        if any(user not in values for user in node.users) and isinstance(value, Tensor) and not _is_filled(value):
            put_constant(graph, node, value)
    graph.module.graph.eliminate_dead_code()


def _is_filled(value: Tensor) -> bool:
    """Whether one number fills a tensor that is large, or there is none."""
    return value.numel() == 0 or (value.numel() > FEW and bool((value == value.flatten()[0]).all()))


def _is_steady(target: object) -> bool:
    """Whether a function is torch's own, gives the same each time, and changes nothing."""
    if not isinstance(target, OpOverload) or target.namespace != "aten":
        return False
    changes = target._schema.is_mutable or torch.Tag.nondeterministic_seeded in target.tags  # noqa: SLF001
    return not changes and not target._opname.startswith(UNSET)  # noqa: SLF001


def put_constant(graph: NetworkGraph, node: fx.Node, value: Tensor) -> None:
    """Put a weight in the place of a node."""
    name = f"{node.name}_made"
    while hasattr(graph.module, name):
        name += "_"
    graph.module.register_buffer(name, value.clone())
    with graph.module.graph.inserting_before(node):
        node.replace_all_uses_with(copy_meta(node, graph.module.graph.get_attr(name)))
    graph.module.graph.erase_node(node)
