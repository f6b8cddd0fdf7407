"""Reshapes that an ExecuTorch program can do without, before its exporter hands them to XNNPACK.

    reshape(reshape(x))     → reshape(x)
    reshape to the own size → nothing

XNNPACK runs each as an operator of its own, which takes a microsecond or two, of layers whose attention takes ten.
"""

from __future__ import annotations

from typing import Any

from torch import fx

from dcd_deploy.optional import require

VIEW = "aten.view_copy.default"


def merge_views(module: fx.GraphModule) -> Any:
    """Let each reshape read what was there before those that it follows, and leave out those that change nothing."""
    changed = False
    for node in module.graph.nodes:
        if not _is_view(node):
            continue
        source = node.args[0]
        while _is_view(source):
            source, changed = source.args[0], True
        node.update_arg(0, source)
        if source.meta["val"].shape == node.meta["val"].shape:
            node.replace_all_uses_with(source)
            changed = True
    if changed:
        module.graph.eliminate_dead_code()
        module.recompile()
    return require("torch.fx.passes.infra.pass_base").PassResult(module, changed)


def _is_view(node: fx.Node) -> bool:
    return node.op == "call_function" and getattr(node.target, "__name__", "") == VIEW
