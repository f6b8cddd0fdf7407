"""Make every node the call of a module under a flat name, so that exporters note where each operator comes from.

    x + y          →   Call(add) at "features_3_conv_6_residual"
    features.2.0   →   the same module at "features_2_0"

Names have no dots: some exporters keep only what stands behind the last one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from torch import fx

from dcd_deploy.lowering.graph import PLACE, SHAPE, WITHIN, Call, Method, NetworkGraph, place
from dcd_deploy.lowering.passes.contract import Pass, PassResult
from dcd_deploy.lowering.places import STATIC, Place


class Wrap(Pass):
    """``places`` maps the path of each module of the result to its place in the trained network."""

    name: ClassVar[str] = "wrap"
    reason: ClassVar[str] = "names of nodes in files and profiles say which layer of the trained network they are of"

    def __init__(self) -> None:
        self.places: dict[str, Place] = {}

    def apply(self, graph: NetworkGraph) -> PassResult:
        result = PassResult()
        for node in list(graph.nodes):
            # Notes of the capture, such as torch's own of the module a node stood in, would outlive the new modules.
            node.meta = {key: node.meta[key] for key in (SHAPE, PLACE, WITHIN) if key in node.meta}
            if node.op not in ("call_module", "call_function", "call_method"):
                continue
            if not _is_tensor(node):
                continue
            found = place(node) or Place(node.name, STATIC)
            module = graph.submodule(node)
            stem = found.layer if found.inside in (STATIC, "dynamic") else f"{found.layer}_{found.inside}"
            path = graph.add_module(f"net_{stem}".replace(".", "_"), module or Call(_function(node)))
            _call(graph, node, path)
            self.places[path] = found
            result.changed += 1
        return result

    def ensures(self, graph: NetworkGraph) -> str | None:
        dotted = [str(n.target) for n in graph.nodes if n.op == "call_module" and "." in str(n.target)]
        return f"flat names, but '{dotted[0]}' is none" if dotted else None


def _is_tensor(node: fx.Node) -> bool:
    return node.meta.get("shape") is not None or node.op == "call_module"


def _function(node: fx.Node) -> Callable[..., Any]:
    if node.op == "call_method":
        return Method(str(node.target))
    assert callable(node.target)
    return node.target


def _call(graph: NetworkGraph, node: fx.Node, path: str) -> None:
    with graph.module.graph.inserting_before(node):
        call = graph.module.graph.call_module(path, node.args, node.kwargs)
    call.meta = dict(node.meta)
    node.replace_all_uses_with(call)
    graph.module.graph.erase_node(node)
