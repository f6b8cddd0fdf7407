"""Convolutions by kernels that the network computes, as products of matrices.

    conv2d(x, w(x), b(x), groups)  →  w (G, K/G, C/G · taps) times the map's pixels under each tap (G, C/G · taps, H W)

A dynamic layer that was recognised has a lowering. One that was not is left with its own convolution, of all samples at
once, a group for each: TFLite's converter and XNNPACK take constant kernels alone, and ONNX a number of groups alone,
which a free batch is not.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, fx, nn

from dcd_deploy.dynamic.depthwise import pair_of
from dcd_deploy.dynamic.operator import Pair
from dcd_deploy.lowering.channels_last.settings import name_and_settings
from dcd_deploy.lowering.channels_last.side_by_side import convolving as side_by_side
from dcd_deploy.lowering.computed_weights import convolving
from dcd_deploy.lowering.graph import NetworkGraph, copy_meta, shape
from dcd_deploy.lowering.layers import conv_of
from dcd_deploy.lowering.passes.contract import Pass, PassResult


class ConvolveByProducts(Pass):
    """Replace such convolutions: all of them, or where the number of groups is computed alone."""

    name: ClassVar[str] = "convolve by products"
    reason: ClassVar[str] = "converters take constant kernels, and groups by their number, alone"

    def __init__(self, *, groups_alone: bool) -> None:
        self.groups_alone = groups_alone

    def apply(self, graph: NetworkGraph) -> PassResult:
        result = PassResult()
        for node in convolving(graph):
            name, settings = name_and_settings(node, None)
            if name != "conv2d":
                continue
            groups = settings.get("groups", 1)
            padding = settings.get("padding", 0)
            if isinstance(padding, str) or (self.groups_alone and not isinstance(groups, fx.Node)):
                continue
            kernel = shape(settings["weight"])
            assert kernel is not None
            made = Products(
                kernel[1:], pair_of(settings.get("stride", 1)), pair_of(settings.get("dilation", 1)), pair_of(padding)
            )
            path = graph.add_module(f"{node.name}_products", made)
            operands = (node.all_input_nodes[0], settings["weight"], settings.get("bias"), groups)
            with graph.module.graph.inserting_before(node):
                found = copy_meta(node, graph.module.graph.call_module(path, operands))
            node.replace_all_uses_with(found)
            graph.module.graph.erase_node(node)
            result.changed += 1
        return result


class Products(nn.Module):
    """x (N, C, H, W), w (K, C/G, kh, kw), b (K) or None, G → (N, K, H', W').

    The pixels under each tap are a convolution by constant kernels, each of which has a single one.
    """

    def __init__(self, kernel: tuple[int, ...], stride: Pair, dilation: Pair, padding: Pair) -> None:
        super().__init__()
        self.channels, *sides = kernel  # of a group
        ones = torch.eye(sides[0] * sides[1], dtype=torch.float64).view(-1, 1, *sides).repeat(self.channels, 1, 1, 1)
        taps = conv_of(ones, None, stride, padding, self.channels, dilation)
        self.inputs, self.taps = len(ones), side_by_side(taps, lambda conv: conv, axis=1)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        maps = x.reshape(-1, self.channels, *x.shape[2:])
        pixels = self.taps(maps)
        sides = pixels.shape[2:]
        kernels = weight.reshape(groups, -1, self.inputs)
        if x.shape[0] == 1:  # XNNPACK takes a product of three dimensions
            y = torch.bmm(kernels, pixels.reshape(groups, self.inputs, sides[0] * sides[1]))
        else:
            y = kernels @ pixels.reshape(x.shape[0], groups, self.inputs, sides[0] * sides[1])
        y = y.reshape(x.shape[0], -1, *sides)
        return y if bias is None else y + bias.reshape(-1, 1, 1)
