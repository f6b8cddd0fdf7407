"""Convolutions by kernels that the network computes, as products of matrices.

    conv2d(x, w(x), b(x), groups)  →  w (G, K/G, C/G · taps) times the map's pixels under each tap (G, C/G · taps, H W)

A dynamic layer that was recognised has a lowering. One that was not is left with its own convolution, of all samples at
once, a group for each: TFLite's converter and XNNPACK take constant kernels alone, and ONNX a number of groups alone,
which a free batch is not. That is so of signals (N, C, L) and volumes (N, C, D, H, W) as well, and of transposed ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, fx, nn

from dcd_deploy.lowering.channels_last.settings import Settings, name_and_settings
from dcd_deploy.lowering.channels_last.side_by_side import convolving as side_by_side
from dcd_deploy.lowering.computed_weights import convolving
from dcd_deploy.lowering.graph import NetworkGraph, shape
from dcd_deploy.lowering.layers import Sizes, frozen
from dcd_deploy.lowering.passes.contract import Pass, PassResult
from dcd_deploy.lowering.passes.transposed_products import transposed_products

Convolution = Callable[..., nn.Conv1d | nn.Conv2d | nn.Conv3d]
DIMENSIONS: dict[str, Convolution] = {"conv1d": nn.Conv1d, "conv2d": nn.Conv2d, "conv3d": nn.Conv3d}


class ConvolveByProducts(Pass):
    """Replace such convolutions: all of them, or where the number of groups is computed alone.

    Not ``transposed`` ones for TFLite, whose converter takes those of a single group as they are.
    """

    name: ClassVar[str] = "convolve by products"
    reason: ClassVar[str] = "converters take constant kernels, and groups by their number, alone"

    def __init__(self, *, groups_alone: bool, transposed: bool = True) -> None:
        self.groups_alone, self.transposed = groups_alone, transposed

    def apply(self, graph: NetworkGraph) -> PassResult:
        result = PassResult()
        for node in convolving(graph):
            name, settings = name_and_settings(node, None)
            groups = settings.get("groups", 1)
            if name == "conv_transpose2d" and not self.transposed:
                continue
            needless = self.groups_alone or name != "conv2d"  # by a number of groups, the others are taken
            made = None if needless and not isinstance(groups, fx.Node) else _products(node, name, settings)
            if made is None:
                continue
            operands = (node.all_input_nodes[0], settings["weight"], settings.get("bias"), groups)
            graph.put_in_place(node, f"{node.name}_products", made, *operands)
            result.changed += 1
        return result


def _products(node: fx.Node, name: str, settings: Settings) -> nn.Module | None:
    if name == "conv_transpose2d":
        return transposed_products(node, settings)
    if name not in DIMENSIONS:
        return None
    kernel, dilation = shape(settings["weight"]), settings.get("dilation", 1)
    assert kernel is not None
    padding = _in_numbers(settings.get("padding", 0), kernel[2:], dilation)
    given = {"stride": settings.get("stride", 1), "dilation": dilation, "padding": padding}
    return Products(DIMENSIONS[name], kernel[1:], **given)


class Products(nn.Module):
    """x (N, C, H, W), w (K, C/G, kh, kw), b (K) or None, G → (N, K, H', W'); or with one side, or three.

    The pixels under each tap are a convolution by constant kernels, each of which has a single one.
    """

    def __init__(self, conv: Convolution, kernel: tuple[int, ...], **settings: Sizes | str) -> None:
        super().__init__()
        self.channels, *sides = kernel  # of a group
        taps = math.prod(sides)
        self.inputs = self.channels * taps
        given = {
            name: value if isinstance(value, str) else _each_side(value, len(sides)) for name, value in settings.items()
        }
        pixels = conv(self.channels, self.inputs, tuple(sides), groups=self.channels, bias=len(sides) > 2, **given)
        ones = torch.eye(taps, dtype=torch.float64).view(-1, 1, *sides)
        pixels.weight = frozen(ones.repeat(self.channels, *[1] * (1 + len(sides))))
        if pixels.bias is not None:  # for torch's exporter: see ``SpellOut``
            pixels.bias = frozen(torch.zeros(self.inputs, dtype=torch.float64))
        self.pixels = side_by_side(pixels, lambda each: each, axis=1) if isinstance(pixels, nn.Conv2d) else pixels

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        pixels = self.pixels(x.reshape(-1, self.channels, *x.shape[2:]))
        sides = pixels.shape[2:]
        kernels = weight.reshape(groups, -1, self.inputs)
        if x.shape[0] == 1:  # XNNPACK takes a product of three dimensions
            y = torch.bmm(kernels, pixels.reshape(groups, self.inputs, math.prod(sides)))
        else:
            y = kernels @ pixels.reshape(x.shape[0], groups, self.inputs, math.prod(sides))
        y = y.reshape(x.shape[0], -1, *sides)
        return y if bias is None else y + bias.reshape(-1, *[1] * len(sides))


def _in_numbers(padding: Sizes | str, kernel: tuple[int, ...], dilation: Sizes) -> Sizes | str:
    """Return "valid" and "same" as numbers, but where the sides of a map get different ones."""
    if not isinstance(padding, str):
        return padding
    around = [step * (taps - 1) for taps, step in zip(kernel, _each_side(dilation, len(kernel)), strict=True)]
    if padding == "valid":
        return 0
    return padding if any(each % 2 for each in around) else tuple(each // 2 for each in around)


def _each_side(value: Sizes, sides: int) -> tuple[int, ...]:
    """Return the numbers of all sides that one number, or a list of one, stands for."""
    given = [value] if isinstance(value, int) else [int(one) for one in value]
    return tuple(given * sides if len(given) == 1 else given)
