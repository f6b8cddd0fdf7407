"""The shape of every value of a graph, from one run on an example."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from dcd_deploy.dynamic.depthwise import QuickDepthwise
from dcd_deploy.lowering.graph import SHAPE


def annotate_shapes(graph: fx.GraphModule, *examples: Tensor) -> Any:
    """Fill in ``meta["shape"]`` of every node: its tensor's shape, or None where it gives no tensor, or several.

    The graph is run once, without gradients, on ``examples``, which are its inputs; what it gives is returned.
    """
    with torch.no_grad(), QuickDepthwise():
        return _Shapes(graph).run(*examples)


class _Shapes(fx.Interpreter):
    """Runs a graph and notes the shape of what each node gives."""

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        n.meta[SHAPE] = tuple(int(size) for size in value.shape) if isinstance(value, Tensor) else None
        return value
