"""A captured network that takes the bytes of a picture: its normalisation goes into the first convolution.

    x = (u / 255 − μ) / σ  =  s ⊙ (u − o)            o = 255 μ,  s = 1 / (255 σ), for each channel
    conv(x; W, b)          =  conv(u − o; W ⊙ s, b)  whatever the padding is: a padded 0 is a byte of o
                           =  conv(u; W ⊙ s, b − Σ (W ⊙ s) o)     where nothing is padded

o is no whole number, so that no byte can be padded with; the difference costs one pass over three channels. Where the
input is read by something else than convolutions, the normalisation is ordinary operators in front, and a note says so.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, fx, nn

from dcd_deploy.lowering.capture import Captured
from dcd_deploy.lowering.graph import NetworkGraph, copied, copy_meta
from dcd_deploy.lowering.layers import frozen

BYTE = 255.0
NOT_FOLDED = "the normalisation is an operator of its own: what reads the picture first is no plain convolution"


class Normalised(nn.Module):
    """A network behind the normalisation of its first input, bytes (N, 3, H, W), as the picture's description has it.

    This is what the form with the normalisation folded is compared with.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, picture: Tensor, *others: Tensor) -> object:
        return self.network((picture / BYTE - self.mean) / self.std, *others)


def taking_bytes(captured: Captured, mean: Sequence[float], std: Sequence[float]) -> Captured:
    """Return a captured network whose first input is bytes 0..255 in place of normalised values; float64 as before."""
    means, deviations = (torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1) for values in (mean, std))
    network = captured.network
    first, *others = network.examples
    bytes_of_first = ((first * deviations + means) * BYTE).round().clamp(0.0, BYTE)
    network = replace(network, module=Normalised(network.module, means, deviations), examples=(bytes_of_first, *others))
    graph = copied(captured.graph)
    _fold(graph, BYTE * means, 1.0 / (BYTE * deviations))
    return replace(captured, network=network, graph=graph.recompiled())


def _fold(graph: NetworkGraph, offset: Tensor, scale: Tensor) -> None:
    picture = next(node for node in graph.nodes if node.op == "placeholder")
    readers = list(picture.users)
    graph.module.register_buffer("picture_offset", offset)
    with graph.module.graph.inserting_after(picture):
        constant = copy_meta(picture, graph.module.graph.get_attr("picture_offset"), shape=tuple(offset.shape))
    floats = _call(graph, constant, "type_as", picture, constant)
    centred = _call(graph, floats, "sub", floats, constant)
    if all(isinstance(graph.submodule(reader), nn.Conv2d) for reader in readers):
        for reader in readers:
            conv = _scaled(graph, reader, scale)
            before = floats if _takes_shift(conv, offset) else centred
            reader.replace_input_with(picture, before)
        return
    graph.notes.append(NOT_FOLDED)
    graph.module.register_buffer("picture_scale", scale)
    with graph.module.graph.inserting_after(constant):
        factor = copy_meta(picture, graph.module.graph.get_attr("picture_scale"), shape=tuple(scale.shape))
    normalised = _call(graph, centred, "mul", centred, factor)
    for reader in readers:
        reader.replace_input_with(picture, normalised)


def _call(graph: NetworkGraph, after: fx.Node, name: str, value: fx.Node, constant: fx.Node) -> fx.Node:
    """Put a method of tensors behind a node; what it gives is a picture like the input."""
    with graph.module.graph.inserting_after(after):
        return copy_meta(value, graph.module.graph.call_method(name, (value, constant)))


def _scaled(graph: NetworkGraph, node: fx.Node, scale: Tensor) -> nn.Conv2d:
    """Put a convolution in a node's place that takes the values before they are scaled; return it."""
    layer = graph.submodule(node)
    assert isinstance(layer, nn.Conv2d)
    made = copy.copy(layer)
    made._parameters = dict(layer._parameters)  # noqa: SLF001 - the layer itself may be shared, and stays as it is
    made.weight = frozen(layer.weight.detach() * _along_inputs(layer, scale))
    node.target = graph.add_module(f"{node.target}_of_bytes", made)
    return made


def _takes_shift(conv: nn.Conv2d, offset: Tensor) -> bool:
    """Take −offset into the bias of a convolution that pads nothing; say whether that was possible."""
    if conv.padding not in ((0, 0), "valid"):
        return False
    shift = (conv.weight.detach() * _along_inputs(conv, offset)).sum((1, 2, 3))
    conv.bias = frozen((0.0 if conv.bias is None else conv.bias.detach()) - shift)
    return True


def _along_inputs(conv: nn.Conv2d, values: Tensor) -> Tensor:
    """Return values (1, C, 1, 1) of the channels as (groups · K/groups, C/groups, 1, 1), as the weights have them."""
    by_group = values.view(conv.groups, 1, -1).expand(-1, conv.out_channels // conv.groups, -1)
    return by_group.reshape(conv.out_channels, -1, 1, 1)
