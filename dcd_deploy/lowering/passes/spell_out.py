"""What exporters have no word for, in operators that they have.

AdaptiveMaxPool2d(n), cells of several sizes     →   the largest of each span of rows, then of columns
attention of (N, L, E), or of five dimensions    →   attention of (N, 1, L, E), or of (A·B, H, L, E)
x², of any dimensions                            →   x · x
mean of windows, divided by another number       →   mean of windows, times what that makes of it
full(size, tensor), as heads make their anchors  →   ones(size) times the tensor
x.chunk(n), x.split(sizes), for XNNPACK          →   slices of x
x.clamp(1e-7, 1)                                 →   x.clamp(1e-7, 1.0): torch decomposes none of two kinds of numbers
einsum of three tensors and more                 →   of two at a time: torch takes a batch of one for no batch
fft.rfft(x, norm="ortho")                        →   fft.rfft(x/√n): TFLite's converter divides none
x.chunk(n), of a free batch                      →   slices of it: torch's exporter fixes the batch
x.squeeze(), of a free batch                     →   x.squeeze(…) of the others: the batch is one at times
convolution of volumes without a bias            →   with one of zeros: torch's exporter makes it one of (K, 2)
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Sequence
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
from dcd_deploy.lowering.passes.spelled import chunked, is_chunk_of_batch, spelling_of

ATTENTION, POOLING, VOLUMES = "scaled_dot_product_attention", "adaptive_max_pool2d", "conv3d"
SECTIONS = "split_size_or_sections"
SPLITS = ("split", "split_with_sizes", "chunk")
NUMBERS = ("item", "_local_scalar_dense")
HEADED = 4  # dimensions of (N, H, L, E)


class SpellOut(Pass):
    """Replace such operators; what they compute stays."""

    name: ClassVar[str] = "spell out"
    reason: ClassVar[str] = "exporters refuse them"

    def __init__(self, *, batch_free: bool = False, sliced: bool = False) -> None:
        self.batch_free, self.sliced = batch_free, sliced

    def apply(self, graph: NetworkGraph) -> PassResult:
        result = PassResult()
        for node in list(graph.nodes):
            if (function := self._function(node)) is not None:
                node.op, node.target = "call_function", function
            elif _is_square(node):
                node.op, node.target, node.args = "call_function", torch.mul, (node.args[0], node.args[0])
            elif _has_mixed_bounds(node):
                node.args = tuple(float(each) if type(each) is int else each for each in node.args)
                node.kwargs = {key: float(each) if type(each) is int else each for key, each in node.kwargs.items()}
            elif _is_number_of(node, FILLING):
                node.replace_all_uses_with(node.all_input_nodes[0])
                graph.module.graph.erase_node(node)
            elif self.sliced and _is_split(node):
                _slice(graph, node)
            elif (made := _pooling(graph, node) or _mean(graph, node) or _volumes(graph, node)) is not None:
                graph.put_in_place(node, f"{node.name}_spelled", made)
            else:
                continue
            result.changed += 1
        return result

    def _function(self, node: fx.Node) -> Callable[..., Any] | None:
        """Return the function of ours that stands for one with the same arguments."""
        if _is_attention(node):
            return attention
        if node.op == "call_function" and op_name(node) == VOLUMES:
            return convolved_volumes
        if self.batch_free and _is_whole_squeeze(node):
            return squeezed
        if self.batch_free and is_chunk_of_batch(node):
            return chunked
        return FILLING[op_name(node)] if _is_filling(node) else spelling_of(node)


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
    if node.op not in ("call_function", "call_method") or node.kwargs:
        return False
    return (op_name(node) == "pow" and node.args[1:] == (2,)) or (op_name(node) == "square" and len(node.args) == 1)


def _has_mixed_bounds(node: fx.Node) -> bool:
    """Whether a node clamps between a whole number and another."""
    clamps = node.op in ("call_function", "call_method") and op_name(node) in ("clamp", "clip")
    return clamps and {int, float} <= {type(each) for each in (*node.args, *node.kwargs.values())}


def _is_filling(node: fx.Node) -> bool:
    """Whether a node fills a tensor with the number of another."""
    if node.op not in ("call_function", "call_method") or op_name(node) not in FILLING or not node.args:
        return False
    return isinstance(node.kwargs.get("fill_value", node.args[-1]), fx.Node)


def _is_number_of(node: fx.Node, readers: Container[str]) -> bool:
    """Whether a node makes a number of a tensor for such readers alone."""
    if node.op not in ("call_function", "call_method") or op_name(node) not in NUMBERS:
        return False
    return bool(node.users) and all(op_name(user) in readers for user in node.users)


def filled(size: Sequence[int], fill_value: Tensor, *, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    """Return ``full`` of a tensor's number."""
    return torch.ones(size, dtype=dtype or fill_value.dtype) * fill_value


def newly_filled(x: Tensor, size: Sequence[int], fill_value: Tensor, *, dtype: Any = None, **_: Any) -> Tensor:
    """Return ``new_full`` of a tensor's number."""
    return filled(size, fill_value, dtype=dtype or x.dtype)


FILLING: dict[str, Callable[..., Tensor]] = {"full": filled, "new_full": newly_filled}


def _is_split(node: fx.Node) -> bool:
    """Whether a node splits a tensor of which each part is read by its number."""
    if node.op not in ("call_function", "call_method") or op_name(node) not in SPLITS:
        return False
    return all(op_name(user) == "getitem" and isinstance(user.args[1], int) and shape(user) for user in node.users)


def _slice(graph: NetworkGraph, node: fx.Node) -> None:
    """Let each part of a split be a slice."""
    whole, (name, settings) = node.all_input_nodes[0], name_and_settings(node, None)
    axis = settings.get("dim", 0)
    length = (shape(whole) or ())[axis]
    given: Any = settings["chunks"] if name == "chunk" else settings.get("split_sizes", settings.get(SECTIONS))
    step = -(-length // given) if name == "chunk" else given
    sizes = list(given) if isinstance(given, list | tuple) else [step] * -(-length // step)
    for user in list(node.users):
        number = int(user.args[1]) % len(sizes)  # type: ignore[arg-type]  # ``_is_split`` has seen it
        with graph.module.graph.inserting_before(user):
            arguments = (whole, axis, sum(sizes[:number]), (shape(user) or ())[axis])
            part = copy_meta(user, graph.module.graph.call_function(torch.narrow, arguments))
        user.replace_all_uses_with(part)
        graph.module.graph.erase_node(user)
    graph.module.graph.erase_node(node)


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
