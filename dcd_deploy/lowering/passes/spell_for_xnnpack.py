"""What XNNPACK has no operator for, in operators that it has, so that a network stays one partition.

hardsigmoid(x)                        →   clamp(x + 3, 0, 6) / 6
elu, softplus, mish                   →   of exponentials of what is below zero
nearest ×n                            →   each pixel by a column of ones, then each row of pixels
softmax of a map                      →   of rows: over channels, of pixels as they lie
mean, largest over channels           →   a convolution by 1/C, the largest of a pixel as it lies
largest of a whole map                →   pooling by a window as large
x.expand_as(y) ⊙ y                    →   x ⊙ y, which broadcasts
copies along other sides of one       →   products that broadcast (``broadcast``)
a @ b of three or more dimensions     →   a product of batches of matrices
whole numbers, lists of channels      →   floats, slices (``xnnpack.constants``)
what is looked up in weights           →   a weight (``xnnpack.lookups``)
LayerNorm, GroupNorm, InstanceNorm    →   means and products (``xnnpack.norms``)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from dcd_deploy.lowering.broadcast import COPYING, Broadcast, copied_sides
from dcd_deploy.lowering.channels_last.settings import Settings, name_and_settings
from dcd_deploy.lowering.graph import NetworkGraph, op_name, shape
from dcd_deploy.lowering.layers import frozen
from dcd_deploy.lowering.passes.contract import Pass, PassResult
from dcd_deploy.lowering.xnnpack.constants import of_equal_rank, taken, taking, whole_as_floats
from dcd_deploy.lowering.xnnpack.lookups import looked_up
from dcd_deploy.lowering.xnnpack.norms import norm_of
from dcd_deploy.lowering.xnnpack.parts import rows
from dcd_deploy.lowering.xnnpack.recurrent import from_zeros

Sides = tuple[int, ...]
OfTensor = Callable[[Tensor], Tensor]
BROADCASTING = ("add", "sub", "mul", "truediv", "div", "iadd", "imul", "add_", "mul_")
MAP = 4  # dimensions
CHANNELS, SPATIAL = [1], [2, 3]


class SpellForXnnpack(Pass):
    """Replace such operators; what they compute stays."""

    name: ClassVar[str] = "spell out for XNNPACK"
    reason: ClassVar[str] = "what it does not take runs outside, a hundred times slower"

    def apply(self, graph: NetworkGraph) -> PassResult:
        result = PassResult(changed=looked_up(graph) + whole_as_floats(graph) + of_equal_rank(graph))
        for node in list(graph.nodes):
            if (places := taking(node)) is not None:
                node.target, node.args = taken, (node.args[0], *places)
                result.changed += 1
                continue
            if (recurrent := from_zeros(graph, node)) is not None:
                graph.put_in_place(node, f"{node.name}_spelled", recurrent)
                result.changed += 1
                continue
            if node.op not in ("call_function", "call_method", "call_module") or shape(node) is None:
                continue
            if _is_expanded_for_nothing(node):
                node.replace_all_uses_with(node.args[0])  # type: ignore[arg-type]  # a node
                graph.module.graph.erase_node(node)
            elif (function := _product(node) or _normalised(node)) is not None:
                node.op, node.target = "call_function", function
            elif (spelled := norm_of(graph, node) or _copied(node) or _spelled(graph, node)) is not None:
                graph.put_in_place(node, f"{node.name}_spelled", spelled)
            else:
                continue
            result.changed += 1
        return result


class Spelled(nn.Module):
    """A function of one tensor, with the constants that it needs."""

    def __init__(self, function: Callable[..., Tensor], *constants: Tensor) -> None:
        super().__init__()
        self.function = function
        self.constants = nn.ParameterList(frozen(each) for each in constants)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.constants)


def _spelled(graph: NetworkGraph, node: fx.Node) -> Spelled | None:
    """Return what a node becomes, if it has one operand and is one of these."""
    before = shape(node.all_input_nodes[0]) if len(node.all_input_nodes) == 1 else None
    if before is None:
        return None
    name, settings = name_and_settings(node, graph.submodule(node))
    if name in ELEMENTWISE:
        return ELEMENTWISE[name](graph, node)
    made = MAPS.get(name)
    return None if made is None or len(before) != MAP else made(before, shape(node) or (), settings)


# Elementwise: what is exponentiated is never above zero


def below(x: Tensor) -> Tensor:
    """Return exp(-|x|)."""
    return torch.exp(torch.neg(torch.abs(x)))


def hardsigmoid(x: Tensor) -> Tensor:
    """Return the hard sigmoid."""
    return torch.clamp(x + 3.0, 0.0, 6.0) / 6.0


FAR = 20.0  # torch's threshold, from which on a softplus is what goes in, to 3e-9


def softplus(x: Tensor) -> Tensor:
    """Return log(1 + exp(x))."""
    return torch.relu(x) + torch.log(below(x) + 1.0)


def mish(x: Tensor) -> Tensor:
    """Return x tanh(softplus(x))."""
    return x * torch.tanh(softplus(x))


def _given(graph: NetworkGraph, node: fx.Node, place: int, name: str, usual: float) -> Any:
    """Return a setting of a module, or of a call: by its name, at its place, or what is usual."""
    of_call = node.kwargs.get(name, node.args[place] if len(node.args) > place else usual)
    return getattr(graph.submodule(node), name, of_call)


def _elu(graph: NetworkGraph, node: fx.Node) -> Spelled:
    alpha = float(_given(graph, node, 1, "alpha", 1.0))
    return Spelled(lambda x: torch.relu(x) + (torch.exp(torch.clamp(x, -math.inf, 0.0)) - 1.0) * alpha)


def _softplus(graph: NetworkGraph, node: fx.Node) -> Spelled | None:
    beta, threshold = _given(graph, node, 1, "beta", 1.0), _given(graph, node, 2, "threshold", FAR)
    if not (isinstance(beta, float | int) and isinstance(threshold, float | int) and beta > 0 and threshold >= FAR):
        return None
    slope = float(beta)
    return Spelled(softplus if slope == 1 else lambda x: softplus(x * slope) / slope)


ELEMENTWISE: dict[str, Callable[[NetworkGraph, fx.Node], Spelled | None]] = {
    "hardsigmoid": lambda *_: Spelled(hardsigmoid),
    "softplus": _softplus,
    "mish": lambda *_: Spelled(mish),
    "elu": _elu,
}


# Maps


def as_map(pixels: Tensor, height: int, width: int) -> Tensor:
    """Return pixels (N, H·W, C) as a map (N, C, H, W)."""
    return pixels.reshape(len(pixels), height, width, -1).permute(0, 3, 1, 2)


def _nearest(before: Sides, after: Sides, settings: Settings) -> Spelled | None:
    mode = settings.get("mode", "nearest")
    if mode not in ("nearest", "nearest-exact") or any(large % side for large, side in zip(after, before, strict=True)):
        return None
    (channels, height, width), (down, right) = before[1:], (after[2] // before[2], after[3] // before[3])

    def repeated(x: Tensor, beside: Tensor, below: Tensor) -> Tensor:
        wide = rows(x).reshape(-1, 1, channels) * beside
        tall = wide.reshape(-1, 1, width * right * channels) * below
        return as_map(tall.reshape(len(x), -1, channels), height * down, width * right)

    ones = [torch.ones(1, times, 1, dtype=torch.float64) for times in (right, down)]
    return Spelled(repeated, *ones)


def _softmax(before: Sides, _: Sides, settings: Settings) -> Spelled | None:
    """Return a softmax of rows of numbers: of a map, the delegate takes the last axis of what lies there, any."""
    dim = settings.get("dim")
    if dim not in range(-3, MAP) or not dim or settings.get("dtype") is not None:
        return None
    axis, (channels, height, width) = dim % MAP, before[1:]
    if axis == 1:
        return Spelled(lambda x: as_map(torch.softmax(rows(x).reshape(len(x), -1, channels), 2), height, width))
    if axis == 2:
        return Spelled(lambda x: torch.softmax(x.transpose(2, 3).flatten(1, 2), 2).view(-1, channels, width, height).mT)
    return Spelled(lambda x: torch.softmax(x.flatten(1, 2), 2).view(-1, *before[1:]))


def _mean(before: Sides, after: Sides, settings: Settings) -> Spelled | None:
    if _axes(settings) != CHANNELS:
        return None
    share = torch.full((1, before[1], 1, 1), 1 / before[1], dtype=torch.float64)
    return Spelled(lambda x, share: F.conv2d(x, share).reshape(len(x), *after[1:]), share)


def _largest(before: Sides, after: Sides, settings: Settings) -> Spelled | None:
    axes, channels = _axes(settings), before[1]
    if axes == SPATIAL:
        return Spelled(lambda x: F.max_pool2d(x, before[2:]).reshape(len(x), *after[1:]))
    if axes == CHANNELS:
        # the channels of a pixel as a row of a map of one channel
        return Spelled(
            lambda x: F.max_pool2d(rows(x).reshape(len(x), 1, -1, channels), (1, channels)).reshape(len(x), *after[1:])
        )
    return None


def _pooled(before: Sides, after: Sides, _: Settings) -> Spelled | None:
    return Spelled(lambda x: F.max_pool2d(x, before[2:])) if after[2:] == (1, 1) else None


def _axes(settings: Settings) -> list[int] | None:
    given = settings.get("dim")
    if given is None:
        return None
    return sorted(axis % MAP for axis in (given if isinstance(given, list | tuple) else [given]))


MAPS: dict[str, Callable[[Sides, Sides, Settings], Spelled | None]] = {
    **dict.fromkeys(("interpolate", "upsample_nearest2d", "_upsample_nearest_exact2d"), _nearest),
    **dict.fromkeys(("softmax", "_softmax"), _softmax),
    "mean": _mean,
    "amax": _largest,
    "adaptive_max_pool2d": _pooled,
}


# Several operands


def _is_expanded_for_nothing(node: fx.Node) -> bool:
    """Whether all that read an expanded tensor would broadcast it themselves."""
    if op_name(node) not in ("expand", "expand_as") or not isinstance(node.args[0], fx.Node):
        return False
    return bool(node.users) and all(_broadcasts(user, node) for user in node.users)


def _copied(node: fx.Node) -> Broadcast | None:
    """Return the copies along sides of one that a node makes."""
    sides = copied_sides(node) if op_name(node) in COPYING else None
    return None if sides is None else Broadcast(sides)


def _broadcasts(user: fx.Node, node: fx.Node) -> bool:
    others = [each for each in user.args if isinstance(each, fx.Node) and each is not node]
    named = op_name(user) in BROADCASTING and len(user.args) == 2
    return named and len(others) == 1 and shape(others[0]) == shape(user)


def _product(node: fx.Node) -> OfTensor | None:
    """Return the product of batches of matrices that a product of two tensors of as many dimensions is."""
    if op_name(node) != "matmul" or len(node.args) != 2:
        return None
    first, second = (shape(each) if isinstance(each, fx.Node) else None for each in node.args)
    if first is None or second is None or first[:-2] != second[:-2] or len(first) < 3:
        return None
    return batched  # type: ignore[return-value]  # of two


def _normalised(node: fx.Node) -> OfTensor | None:
    """Return what makes tensors one long, if a node does that by Euclid's length."""
    given = dict(zip(("p", "dim", "eps"), node.args[1:], strict=False)) | node.kwargs
    return normalised if op_name(node) == "normalize" and given.get("p", 2) == 2 and not given.get("out") else None


def normalised(input: Tensor, p: float = 2, dim: int = 1, eps: float = 1e-12, out: None = None) -> Tensor:  # noqa: A002, ARG001
    """Return F.normalize(x, 2, dim): the length broadcasts, and is not expanded."""
    return input / torch.clamp(torch.sqrt((input * input).sum(dim, keepdim=True)), eps)


def batched(a: Tensor, b: Tensor) -> Tensor:
    """Return a b, of (…, L, M) and (…, M, N)."""
    product = torch.bmm(a.reshape(-1, *a.shape[-2:]), b.reshape(-1, *b.shape[-2:]))
    return product.reshape(*a.shape[:-2], *product.shape[-2:])
