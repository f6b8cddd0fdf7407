"""Adaptive and global average pooling as pooling by windows of one size, since maps have known sizes.

    AdaptiveAvgPool2d(n) on n·s pixels   →   AvgPool2d(s)
    x.mean((2, 3))                       →   AvgPool2d(H, W), flattened

Exporters write an adaptive pooling as a mean over whole dimensions or refuse it; a pooling by windows stays in the
layouts in which runtimes keep maps.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import fx, nn

from dcd_deploy.lowering.assemble.windows import windows
from dcd_deploy.lowering.graph import NetworkGraph, copy_meta, op_name, shape
from dcd_deploy.lowering.passes.contract import Pass, PassResult

SPATIAL = ({2, 3}, {-2, -1})


class PoolByWindows(Pass):
    """Replace every average pooling whose cells are windows of one size."""

    name: ClassVar[str] = "pool by windows"
    reason: ClassVar[str] = "adaptive pooling reaches runtimes as slower operators, or not at all"

    def apply(self, graph: NetworkGraph) -> PassResult:
        result = PassResult()
        for node in list(graph.nodes):
            if (found := _pooling(graph, node)) is not None:
                _replace(graph, node, *found)
                result.changed += 1
        return result


def _pooling(graph: NetworkGraph, node: fx.Node) -> tuple[nn.AvgPool2d, bool] | None:
    """Return the pooling by windows that a node is, and whether its map of 1×1 is flattened behind it."""
    before = next(iter(node.all_input_nodes), None)
    sides = shape(before) if before is not None else None
    if sides is None or len(sides) != 4 or shape(node) is None:
        return None
    module = graph.submodule(node)
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return _by_windows(module.output_size, sides[2:])
    if module is not None:
        return None
    if node.op == "call_function" and op_name(node) == "adaptive_avg_pool2d":
        return _by_windows(node.args[1] if len(node.args) > 1 else node.kwargs["output_size"], sides[2:])
    return _global_mean(node, sides)


def _by_windows(cells: object, sides: tuple[int, ...]) -> tuple[nn.AvgPool2d, bool] | None:
    wanted = [cells] * 2 if isinstance(cells, int) or cells is None else list(cells)  # type: ignore[call-overload]  # a pair
    found = [windows(side if n is None else n, side) for n, side in zip(wanted, sides, strict=True)]
    if None in found:
        return None
    (height, down), (width, right) = found  # type: ignore[misc]  # none of them is None
    return nn.AvgPool2d((height, width), (down, right)), False


def _global_mean(node: fx.Node, sides: tuple[int, ...]) -> tuple[nn.AvgPool2d, bool] | None:
    if op_name(node) != "mean" or node.op not in ("call_function", "call_method"):
        return None
    given = dict(zip(("input", "dim", "keepdim"), node.args, strict=False)) | dict(node.kwargs)
    axes = given.get("dim", given.get("axis"))
    if not isinstance(axes, list | tuple) or set(axes) not in SPATIAL or given.get("dtype") is not None:
        return None
    return nn.AvgPool2d((sides[2], sides[3])), not given.get("keepdim", False)


def _replace(graph: NetworkGraph, node: fx.Node, pooling: nn.AvgPool2d, flattened: bool) -> None:  # noqa: FBT001 - says what follows
    before = node.all_input_nodes[0]
    path = graph.add_module(f"{node.name}_windows", pooling)
    with graph.module.graph.inserting_before(node):
        found = copy_meta(node, graph.module.graph.call_module(path, (before,)))
        if flattened:
            n, channels = shape(node) or ()
            found.meta["shape"] = (n, channels, 1, 1)
            found = copy_meta(node, graph.module.graph.call_function(torch.flatten, (found, 1)))
    node.replace_all_uses_with(found)
    graph.module.graph.erase_node(node)
