"""Let a lowering activate what it computes, before the permutation that it ends in, where a runtime fuses the two.

permute(linear(x, W, b)) → act becomes permute(act(linear(x, W, b))).
"""

from __future__ import annotations

from typing import ClassVar

from torch import fx, nn

from dcd_deploy.lowering.graph import NetworkGraph, op_name
from dcd_deploy.lowering.lowering import Lowering
from dcd_deploy.lowering.passes.contract import Pass, PassResult

FUSED = {"relu": nn.ReLU, "relu6": nn.ReLU6}  # by XNNPACK, as functions without settings
MODULES = (nn.ReLU, nn.ReLU6, nn.Hardtanh)


class ActivateWithin(Pass):
    """Move an activation that alone reads a lowering into it, where that has a place for one."""

    name: ClassVar[str] = "activate within"
    reason: ClassVar[str] = "XNNPACK fuses an activation with the operator before it, but not through a permutation"

    def apply(self, graph: NetworkGraph) -> PassResult:
        result = PassResult()
        for node in list(graph.nodes):
            module = graph.submodule(node)
            reader = next(iter(node.users), None)
            if not isinstance(module, Lowering) or module.activation is None or reader is None or len(node.users) > 1:
                continue
            if (activation := _fused(graph, reader)) is not None:
                module.activation = activation
                reader.replace_all_uses_with(node)
                graph.module.graph.erase_node(reader)
                result.changed += 1
        return result


def _fused(graph: NetworkGraph, node: fx.Node) -> nn.Module | None:
    """Return the activation that a node is, if it is one that is fused."""
    if (module := graph.submodule(node)) is not None:
        return module if isinstance(module, MODULES) else None
    is_call = node.op in ("call_function", "call_method") and len(node.args) == 1
    kind = FUSED.get(op_name(node)) if is_call else None
    return None if kind is None else kind()
