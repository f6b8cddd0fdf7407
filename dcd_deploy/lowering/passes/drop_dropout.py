"""Drop what does nothing in eval mode: dropout, identities, copies."""

from __future__ import annotations

from typing import ClassVar

from torch import fx, nn

from dcd_deploy.lowering.graph import NetworkGraph, op_name
from dcd_deploy.lowering.passes.contract import Pass, PassResult

LAYERS = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
FUNCTIONS = frozenset(
    {"dropout", "dropout1d", "dropout2d", "feature_dropout", "alpha_dropout", "detach", "contiguous", "clone", "alias"}
)
STRIDED = ("view_as_complex", "as_strided")  # which ask how a tensor lies: a copy does something for them


class DropDropout(Pass):
    """x → dropout → y becomes x → y."""

    name: ClassVar[str] = "drop dropout"
    reason: ClassVar[str] = "it does nothing after training, and stands between a layer and its norm or activation"

    def apply(self, graph: NetworkGraph) -> PassResult:
        result = PassResult()
        for node in list(graph.nodes):
            if does_nothing(graph, node):
                node.replace_all_uses_with(node.args[0])  # type: ignore[arg-type]  # its operand
                graph.module.graph.erase_node(node)
                result.changed += 1
        return result

    def ensures(self, graph: NetworkGraph) -> str | None:
        left = next((node for node in graph.nodes if does_nothing(graph, node)), None)
        return None if left is None else f"no dropout, but '{left.name}' is left"


def does_nothing(graph: NetworkGraph, node: fx.Node) -> bool:
    """Whether a node passes its operand on."""
    if not node.args or not isinstance(node.args[0], fx.Node):
        return False
    if (module := graph.submodule(node)) is not None:
        return isinstance(module, LAYERS) and not module.training
    if any(op_name(user) in STRIDED for user in node.users):
        return False
    return node.op in ("call_function", "call_method") and op_name(node) in FUNCTIONS
