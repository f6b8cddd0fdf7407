"""A captured graph as the choice of lowerings sees it: dropout gone, norms folded into the layers before them."""

from __future__ import annotations

from dcd_deploy.lowering.capture import Captured
from dcd_deploy.lowering.copying import copied
from dcd_deploy.lowering.graph import NetworkGraph
from dcd_deploy.lowering.passes.contract import Pass
from dcd_deploy.lowering.passes.drop_dropout import DropDropout
from dcd_deploy.lowering.passes.fold_norms import FoldNorms


def prepared(captured: Captured) -> NetworkGraph:
    """Return a copy of the graph with which activations, and norms folded into operators, are where a file has them."""
    graph = copied(captured.graph)
    passes: tuple[Pass, ...] = (DropDropout(), FoldNorms())
    for one in passes:
        one(graph)
    return graph
