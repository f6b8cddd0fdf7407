"""The static twin of a captured network: each dynamic layer replaced by the convolution that its mean heads give.

It has the same channels, and its outputs are those of the network whose attention has stopped to look. What only the
attention needed goes with it. It is there to be timed beside the dynamic network, and to say what the dynamics earn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from dcd_deploy.dynamic.canonical import CanonicalLayer
from dcd_deploy.dynamic.float64 import InFloat64
from dcd_deploy.dynamic.folds import static_twin as mean_kernel
from dcd_deploy.dynamic.operator import DynamicOperator
from dcd_deploy.lowering.capture import Captured, NamedGraph
from dcd_deploy.lowering.graph import copied
from dcd_deploy.lowering.layers import conv_of, linear_of
from dcd_deploy.lowering.places import STATIC, Place

Means = Mapping[str, dict[str, Tensor]]


def mean_heads(captured: Captured, batches: Sequence[tuple[Tensor, ...]]) -> dict[str, dict[str, Tensor]]:
    """Return the mean of every head (values) of each dynamic layer over batches of inputs."""
    sums: dict[str, dict[str, Tensor]] = {path: {} for path in captured.operators}
    counts = dict.fromkeys(captured.operators, 0)

    def noting(path: str) -> object:
        def note(heads: Mapping[str, Tensor]) -> None:
            counts[path] += len(next(iter(heads.values())))
            for name, values in heads.items():
                sums[path][name] = sums[path].get(name, torch.zeros(())) + values.sum(0)

        return note

    layers = captured.graph.layers()
    for path, layer in layers.items():
        layer.observe = noting(path)
    try:
        with torch.no_grad(), InFloat64():
            for batch in batches:
                captured.graph.module(*batch)
    finally:
        for layer in layers.values():
            layer.observe = None
    return {path: {name: total / counts[path] for name, total in heads.items()} for path, heads in sums.items()}


def static_twin(captured: Captured, means: Means) -> Captured:
    """Return the captured network with convolutions by ``means`` in place of its dynamic layers."""
    graph = copied(captured.graph)
    for node in list(graph.nodes):
        layer = graph.submodule(node)
        if isinstance(layer, CanonicalLayer):
            path = str(node.target)
            graph.replace_module(node, static_layer(layer.operator, means[path]))
            node.args = node.args[:1]
            node.meta["place"] = Place(path, STATIC)
    graph.recompiled()
    network = replace(captured.network, module=NamedGraph(graph))
    return Captured(network, graph, {}, captured.refused)


def static_layer(operator: DynamicOperator, means: dict[str, Tensor]) -> nn.Module:
    """Return the convolution, or linear layer, that the mean heads give."""
    g = operator.geometry
    weight, bias = mean_kernel(operator, means)
    if g.vector:
        return linear_of(weight.flatten(1), bias)
    return conv_of(weight, bias, g.stride, g.padding, g.groups, g.dilation, g.padding_mode)
