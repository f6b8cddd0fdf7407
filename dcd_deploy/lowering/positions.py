"""Largest values, of which nobody reads the positions, as one tensor: passes and exporters know that spelling.

(y, positions) = aten.adaptive_max_pool2d(x, n)     →   y = F.adaptive_max_pool2d(x, n)
(y, positions) = nn.MaxPool2d(…, return_indices=True)(x)   →   y = nn.MaxPool2d(…)(x)
"""

from __future__ import annotations

import copy
import re

import torch.nn.functional as F
from torch import fx, nn
from torch._ops import OpOverload

from dcd_deploy.lowering.graph import is_getitem, op_name

POOLING = re.compile(r"((?:adaptive_)?max_pool[123]d)(_with_indices)?")


def drop_positions(made: fx.GraphModule) -> None:
    """Change the graph so, in place."""
    for node in list(made.graph.nodes):
        if not _gives_positions(made, node):
            continue
        for user in [user for user in node.users if is_getitem(user) and not user.users]:
            made.graph.erase_node(user)
        if node.users and all(is_getitem(user) and user.args[1] == 0 for user in node.users):
            _give_values(made, node)


def _gives_positions(made: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node gives the largest values and where they are."""
    if node.op == "call_module":
        calls = sum(other.op == node.op and other.target == node.target for other in made.graph.nodes)
        return calls == 1 and getattr(made.get_submodule(str(node.target)), "return_indices", False) is True
    known = POOLING.fullmatch(op_name(node)) if node.op == "call_function" else None
    adaptive = known is not None and known[1].startswith("adaptive_") and isinstance(node.target, OpOverload)
    return known is not None and (adaptive or bool(known[2]))


def _give_values(made: fx.GraphModule, node: fx.Node) -> None:
    """Let a node give the values alone."""
    if node.op == "call_module":
        parent, _, name = str(node.target).rpartition(".")
        values: nn.Module = copy.copy(made.get_submodule(str(node.target)))
        values.return_indices = False  # type: ignore[assignment]  # the flag of torch's poolings
        setattr(made.get_submodule(parent), name, values)
    else:
        known = POOLING.fullmatch(op_name(node))
        assert known is not None
        node.target = getattr(F, known[1])
        node.kwargs = {key: value for key, value in node.kwargs.items() if key != "return_indices"}
    node.meta.pop("val", None)  # of two tensors
    for user in list(node.users):
        user.replace_all_uses_with(node)
        made.graph.erase_node(user)
