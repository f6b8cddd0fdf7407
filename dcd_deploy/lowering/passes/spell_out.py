"""What exporters have no word for, in operators that they have.

AdaptiveMaxPool2d(n), cells of several sizes     →   the largest of each span of rows, then of columns
attention of (N, L, E), or of five dimensions    →   attention of (N, 1, L, E), or of (A·B, H, L, E)
x², of any dimensions                            →   x · x
mean of windows, divided by another number       →   mean of windows, times what that makes of it
x.squeeze(), of a free batch                     →   x.squeeze(…) of the others: the batch is one at times
convolution of volumes without a bias            →   with one of zeros: torch's exporter makes it one of (K, 2)
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from dcd_deploy.dynamic.depthwise import pair_of
from dcd_deploy.dynamic.operator import Pair
from dcd_deploy.lowering.channels_last.settings import name_and_settings
from dcd_deploy.lowering.graph import NetworkGraph, copy_meta, op_name, shape
from dcd_deploy.lowering.layers import frozen
from dcd_deploy.lowering.passes.contract import Pass, PassResult

ATTENTION, POOLING, VOLUMES = "scaled_dot_product_attention", "adaptive_max_pool2d", "conv3d"
HEADED = 4  # dimensions of (N, H, L, E)


class SpellOut(Pass):
    """Replace such operators; what they compute stays."""

    name: ClassVar[str] = "spell out"
    reason: ClassVar[str] = "exporters refuse them"

    def __init__(self, *, batch_free: bool = False) -> None:
        self.batch_free = batch_free

    def apply(self, graph: NetworkGraph) -> PassResult:
        result = PassResult()
        for node in list(graph.nodes):
            if _is_attention(node):
                node.target = attention
                result.changed += 1
            elif _is_square(node):
                node.target, node.args = torch.mul, (node.args[0], node.args[0])
                result.changed += 1
            elif self.batch_free and _is_whole_squeeze(node):
                node.op, node.target = "call_function", squeezed
                result.changed += 1
            elif node.op == "call_function" and op_name(node) == VOLUMES:
                node.target = convolved_volumes
                result.changed += 1
            elif (made := _pooling(graph, node) or _mean(graph, node) or _volumes(graph, node)) is not None:
                path = graph.add_module(f"{node.name}_spelled", made)
                with graph.module.graph.inserting_before(node):
                    found = copy_meta(node, graph.module.graph.call_module(path, (node.all_input_nodes[0],)))
                node.replace_all_uses_with(found)
                graph.module.graph.erase_node(node)
                result.changed += 1
        return result


def _is_attention(node: fx.Node) -> bool:
    sides = shape(node)
    return node.op == "call_function" and op_name(node) == ATTENTION and sides is not None and len(sides) != HEADED


def _pooling(graph: NetworkGraph, node: fx.Node) -> SpanMaximum | None:
    """Return the pooling that a node is, if its cells are of several sizes."""
    before = next(iter(node.all_input_nodes), None)
    sides, cells = shape(before) if before is not None else None, shape(node)
    is_function = node.op == "call_function" and op_name(node) == POOLING
    if not isinstance(graph.submodule(node), nn.AdaptiveMaxPool2d) and not is_function:
        return None
    if sides is None or cells is None or len(sides) != HEADED:  # with positions it gives two
        return None
    spans = [_spans(side, cell) for side, cell in zip(sides[2:], cells[2:], strict=True)]
    if all(side % cell == 0 for side, cell in zip(sides[2:], cells[2:], strict=True)):
        return None
    return SpanMaximum(spans[0], spans[1])


def _is_square(node: fx.Node) -> bool:
    return node.op == "call_function" and op_name(node) == "pow" and not node.kwargs and node.args[1:] == (2,)


def _is_whole_squeeze(node: fx.Node) -> bool:
    """Whether a node squeezes all sides of one."""
    of_tensors = node.op in ("call_function", "call_method") and op_name(node) == "squeeze"
    return of_tensors and len(node.args) == 1 and not node.kwargs


def squeezed(x: Tensor) -> Tensor:
    """Return x (N, …) without its sides of one, but with the batch."""
    return x.squeeze([axis for axis in range(1, x.dim()) if x.shape[axis] == 1])


def _mean(graph: NetworkGraph, node: fx.Node) -> ScaledMean | None:
    """Return the mean of windows that a node is, if it is divided by another number than a window has pixels."""
    if node.op not in ("call_function", "call_module"):
        return None
    name, settings = name_and_settings(node, graph.submodule(node))
    divisor = settings.get("divisor_override")
    if name != "avg_pool2d" or not isinstance(divisor, int) or settings.get("ceil_mode", False):
        return None
    window = pair_of(settings["kernel_size"])
    stride = settings.get("stride") or window
    return ScaledMean(window, pair_of(stride), pair_of(settings.get("padding", 0)), divisor)


def _volumes(graph: NetworkGraph, node: fx.Node) -> nn.Conv3d | None:
    """Return the convolution of volumes that a node is, with a bias, if it has none."""
    conv = graph.submodule(node)
    if not isinstance(conv, nn.Conv3d) or conv.bias is not None:
        return None
    biased = copy.copy(conv)
    biased._parameters = {**conv._parameters, "bias": frozen(conv.weight.new_zeros(conv.out_channels))}  # noqa: SLF001
    return biased


def convolved_volumes(x: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any, **named: Any) -> Tensor:
    """Return ``conv3d``, with a bias."""
    return F.conv3d(x, weight, weight.new_zeros(weight.shape[0]) if bias is None else bias, *rest, **named)


class ScaledMean(nn.Module):
    """x (N, C, H, W) → the sums of windows over a divisor."""

    def __init__(self, window: Pair, stride: Pair, padding: Pair, divisor: int) -> None:
        super().__init__()
        self.window, self.stride, self.padding = window, stride, padding
        self.scale = window[0] * window[1] / divisor

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, self.window, self.stride, self.padding) * self.scale


Spans = tuple[tuple[int, int], ...]


def _spans(side: int, cells: int) -> Spans:
    """Return the first pixel of each cell, and the one behind its last, as torch has them."""
    return tuple((i * side // cells, -(-(i + 1) * side // cells)) for i in range(cells))


class SpanMaximum(nn.Module):
    """x (N, C, H, W) → (N, C, rows, columns), the largest value of each pair of spans."""

    def __init__(self, rows: Spans, columns: Spans) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x[:, :, start:stop].amax(2, keepdim=True) for start, stop in self.rows], 2)
        return torch.cat([x[..., start:stop].amax(3, keepdim=True) for start, stop in self.columns], 3)


def attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *rest: Any, **named: Any
) -> Tensor:
    """Return ``scaled_dot_product_attention`` of any dimensions, by that of four."""
    around = query.shape[:-2]
    mask = None if attn_mask is None else _headed(attn_mask.expand(*around, *attn_mask.shape[-2:]))
    found = F.scaled_dot_product_attention(_headed(query), _headed(key), _headed(value), mask, *rest, **named)
    return found.reshape(*around, *found.shape[-2:])


def _headed(x: Tensor) -> Tensor:
    """Return (N, L, E) as (N, 1, L, E), and what has more dimensions with the first of them as one."""
    return x[:, None] if x.dim() < HEADED else x.flatten(0, x.dim() - HEADED)
