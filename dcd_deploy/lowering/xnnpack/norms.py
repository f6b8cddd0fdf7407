"""Norms of what there is (LayerNorm, GroupNorm, InstanceNorm), which XNNPACK has not, in operators that it has.

(x - mean) · 1 / √(mean of (x - mean)² + eps) · weight + bias

The mean of a pixel's values is a linear layer of 1/C. That of a group of channels is a window as large as the map, and
a convolution of 1/C in groups behind it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from dcd_deploy.lowering.graph import NetworkGraph, constant_of, op_name, shape
from dcd_deploy.lowering.layers import frozen

MAP = 4  # dimensions
Affine = tuple[Tensor | None, Tensor | None]


class Norm(nn.Module):
    """The norm; a class of it says what the mean is. ``weight`` and ``bias`` have shapes that broadcast."""

    def __init__(self, eps: float, weight: Tensor | None, bias: Tensor | None) -> None:
        super().__init__()
        self.eps = eps
        self.weight = None if weight is None else frozen(weight)
        self.bias = None if bias is None else frozen(bias)

    def forward(self, x: Tensor) -> Tensor:
        centred = x - self.mean(x)
        found = centred * torch.rsqrt(self.mean(centred * centred) + self.eps)
        found = found if self.weight is None else found * self.weight
        return found if self.bias is None else found + self.bias

    def mean(self, x: Tensor) -> Tensor:
        """Return the mean that belongs to each value, in a shape that broadcasts."""
        raise NotImplementedError


class LastNorm(Norm):
    """Of the last axes together, as LayerNorm has it; ``sides`` are their sizes."""

    def __init__(self, sides: tuple[int, ...], eps: float, affine: Affine) -> None:
        super().__init__(eps, *(each if each is None else each.reshape(-1) for each in affine))
        self.sides, count = sides, math.prod(sides)
        self.share = frozen(torch.full((1, count), 1 / count, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        if len(self.sides) == 1:
            return super().forward(x)
        return super().forward(x.reshape(*x.shape[: -len(self.sides)], -1)).reshape(x.shape)

    def mean(self, x: Tensor) -> Tensor:
        """Return the mean of (…, C) as (…, 1)."""
        return F.linear(x, self.share)


class GroupedNorm(Norm):
    """Of the channels of a map in ``groups``, each with its pixels."""

    def __init__(self, channels: int, groups: int, eps: float, affine: Affine) -> None:
        super().__init__(eps, *(each if each is None else each.reshape(1, channels, 1, 1) for each in affine))
        self.groups, each = groups, channels // groups
        made: list[Tensor] = []
        if each > 1:
            made.append(torch.full((groups, each, 1, 1), 1 / each, dtype=torch.float64))
            made += [torch.ones(channels, 1, 1, 1, dtype=torch.float64)] * (groups > 1)
        self.steps = nn.ParameterList(frozen(each) for each in made)

    def mean(self, x: Tensor) -> Tensor:
        """Return the mean of (N, C, H, W) as (N, C, 1, 1), of one group as (N, 1, 1, 1)."""
        found = F.avg_pool2d(x, x.shape[2:])
        for step in self.steps:
            found = F.conv2d(found, step, groups=self.groups)
        return found


def norm_of(graph: NetworkGraph, node: fx.Node) -> Norm | None:
    """Return what a node becomes, if it is a norm of what there is, with constant weights."""
    sides = shape(node.all_input_nodes[0]) if node.all_input_nodes else None
    settings = _settings(graph, node)
    if sides is None or settings is None:
        return None
    name, affine = settings.pop("name"), (settings["weight"], settings["bias"])
    if any(isinstance(each, fx.Node) for each in affine):  # they are computed
        return None
    if name == "layer_norm":
        last = settings["normalized_shape"]
        return LastNorm((last,) if isinstance(last, int) else tuple(last), settings["eps"], affine)
    if len(sides) != MAP:
        return None
    groups = sides[1] if name == "instance_norm" else settings["num_groups"]
    return GroupedNorm(sides[1], groups, settings["eps"], affine)


DEFAULTS = {"weight": None, "bias": None, "eps": 1e-5}
NORMS: dict[type[nn.Module], str] = {
    nn.LayerNorm: "layer_norm",
    nn.GroupNorm: "group_norm",
    nn.InstanceNorm2d: "instance_norm",
}
PARAMETERS = {
    "layer_norm": ("normalized_shape", "weight", "bias", "eps"),
    "group_norm": ("num_groups", "weight", "bias", "eps"),
}


def _settings(graph: NetworkGraph, node: fx.Node) -> dict[str, Any] | None:
    """Return what a norm is called with, and its name; None of any other node."""
    module = graph.submodule(node)
    if module is not None:
        name = NORMS.get(type(module))
        if name is None or isinstance(getattr(module, "running_mean", None), Tensor):
            return None
        found = {key: getattr(module, key) for key in ("weight", "bias", "eps")}
        return {**found, "name": name, **{key: getattr(module, key, None) for key in PARAMETERS.get(name, ())}}
    if (name := op_name(node)) not in PARAMETERS:
        return None
    given = {**DEFAULTS, **dict(zip(PARAMETERS[name], node.args[1:], strict=False)), **node.kwargs}
    return {key: _constant(graph, value) for key, value in given.items()} | {"name": name}


def _constant(graph: NetworkGraph, value: Any) -> Any:
    """Return the tensor that a node stands for, or what is no such node."""
    if not isinstance(value, fx.Node) or value.op != "get_attr":
        return value
    return constant_of(graph, value)
