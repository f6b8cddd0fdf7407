"""Views of a captured graph as reshapes.

A view needs values that lie as torch's own operators left them. A pass may leave out a copy that only saw to that
(``contiguous``), or lay a map out otherwise: a reshape gives the same values wherever they lie.
"""

from __future__ import annotations

import torch
from torch import fx

from dcd_deploy.lowering.graph import op_name

VIEWS = ("view", "_unsafe_view")


def reshape_views(made: fx.GraphModule) -> None:
    """Let a graph reshape where it views, in place; a view as another precision stays one."""
    for node in made.graph.nodes:
        given = (*node.args, *node.kwargs.values())
        if op_name(node) in VIEWS and not any(isinstance(one, torch.dtype) for one in given):
            if node.op == "call_method":
                node.target, node.args, node.kwargs = "reshape", given, {}
            elif node.op == "call_function":
                node.target, node.args, node.kwargs = torch.ops.aten.reshape.default, given, {}
    made.recompile()
