"""Lay a network out channels last, as TFLite has its maps.

    (N, C, H, W) → permute → conv … on maps (N, H, W, C) … pool → dense on rows (N, 1, 1, C) → flatten → (N, classes)

Inputs stay as torch has them; what reads the network's file otherwise permutes the other way, and the converter drops
both. Where an operator has no form channels last, its operands are transposed before it, or its result after it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import fx

from dcd_deploy.lowering.channels_last.elementwise import positive_values
from dcd_deploy.lowering.channels_last.layout import Layout
from dcd_deploy.lowering.channels_last.site import Conversion, Laid, LaidGraph, SeveralError, Site
from dcd_deploy.lowering.channels_last.table import entry_for
from dcd_deploy.lowering.graph import SHAPE, NetworkGraph, shape
from dcd_deploy.lowering.passes.contract import Pass, PassRefusal, PassResult

CALLS = ("call_module", "call_function", "call_method")
NO_ENTRY = "it has no form channels last"


class LayOut(Pass):
    """A cost is a refusal, with its bytes."""

    name: ClassVar[str] = "lay out"
    reason: ClassVar[str] = "TFLite's operators work on maps (N, H, W, C), and every transposition is a pass over a map"

    def requires(self, graph: NetworkGraph) -> str | None:
        if left := next(iter(graph.layers()), None):
            return f"lowered dynamic layers, but '{left}' is not"
        lacking = next((node for node in graph.nodes if node.op != "output" and SHAPE not in node.meta), None)
        return None if lacking is None else f"shapes, but '{lacking.name}' has none"

    def apply(self, graph: NetworkGraph) -> PassResult:
        laid = LaidGraph(graph, positive=positive_values(graph))
        laid.shapes = {node: shape(node) for node in graph.nodes}
        *nodes, output = graph.nodes
        for node in nodes:
            laid.settle(node, _lay(laid, node) if node.op in CALLS else Laid(node, Layout.PLAIN))
        values: Any = output.args[0]
        output.args = (tuple(_output(laid, value, output) for value in values),)
        costs = {one.node: _cost(laid, one) for one in laid.conversions}
        graph.module.graph.eliminate_dead_code()
        changed = sum(laid.native[node] is not Layout.PLAIN for node in nodes)
        return PassResult(changed, [costs[node] for node in graph.nodes if node in costs])

    def ensures(self, graph: NetworkGraph) -> str | None:
        lacking = next((node for node in graph.nodes if node.op != "output" and SHAPE not in node.meta), None)
        return None if lacking is None else f"shapes, but '{lacking.name}' has none"


def _output(laid: LaidGraph, value: Any, output: fx.Node) -> Any:
    return laid.take(value, Layout.PLAIN, output) if isinstance(value, fx.Node) else value


def _lay(laid: LaidGraph, node: fx.Node) -> Laid:
    """Return what stands for a node: by its entry in the table, or itself on operands as torch has them."""
    site = Site(laid, node)
    entry = entry_for(site)
    found: Laid | str | None
    try:
        found = entry(site) if entry else NO_ENTRY
    except SeveralError as several:
        found = str(several)
    if isinstance(found, Laid):
        return found
    if found is not None:
        laid.reasons[node] = found
    return site.again(Layout.PLAIN, lambda value: site.take(value, Layout.PLAIN))


def _cost(laid: LaidGraph, conversion: Conversion) -> PassRefusal:
    cause = conversion.cause
    site = Site(laid, cause)
    reason = laid.reasons.get(cause, "it works on values as torch has them")
    return PassRefusal(
        site.path,
        f"{site.name} is not laid out ({reason}): {conversion.size:,} bytes are transposed {conversion.where} it",
    )
