"""A graph to work on: its nodes may be changed, its weights are shared."""

from __future__ import annotations

import copy

from torch import fx

from dcd_deploy.lowering.graph import NetworkGraph


def copied(graph: NetworkGraph) -> NetworkGraph:
    """Return a copy; passes put other modules and weights in place of those here, and change none of them."""
    memo: dict[int, object] = {id(t): t for t in (*graph.module.parameters(), *graph.module.buffers())}
    memo |= {id(layer): layer for layer in graph.layers().values()}
    module: fx.GraphModule = copy.deepcopy(graph.module, memo)
    return NetworkGraph(module, graph.inputs, graph.outputs, list(graph.notes))
