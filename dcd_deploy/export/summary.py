"""What a graph consists of, whatever its format.

What a captured network costs, layer by layer, beside its static twin: of any module what ``models.sizes`` says.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from dcd_deploy.artifacts import FLOAT32, WEIGHTS
from dcd_deploy.dynamic.shape import OperatorShape, macs_as_trained, static_macs
from dcd_deploy.export.rounding import small_bytes
from dcd_deploy.lowering.capture import Captured
from dcd_deploy.lowering.counts import layer_macs, twin_macs
from dcd_deploy.lowering.passes.substitute import LayerSite, sites
from dcd_deploy.lowering.static_twin import mean_heads, static_twin
from dcd_deploy.models.sizes import LayerSummary, NetworkSummary


@dataclass(frozen=True)
class GraphStats:
    """Counts of one model; ``macs`` for one sample."""

    nodes: int
    operators: dict[str, int]
    size_bytes: int
    macs: int


@dataclass(frozen=True)
class OnnxFacts:
    """What the package onnx tells of a file."""

    opset: int
    ir_version: int
    producer: str
    graph: GraphStats


def file_sizes(size_bytes: int, tensors: Iterable[NDArray[np.float32]], scale_bytes: int) -> dict[str, int]:
    """Return about how many bytes a file takes with its weights stored in each way; now they are in float32.

    Of int8 every tensor has scales of so many bytes.
    """
    smaller = [name for name in WEIGHTS if name != FLOAT32]
    sizes = dict.fromkeys(WEIGHTS, size_bytes)
    for values in tensors:
        for name in smaller:
            sizes[name] += small_bytes(values, name, scale_bytes) - values.nbytes
    return sizes


def summarise_captured(captured: Captured, title: str) -> NetworkSummary:
    """Count a network in the order in which it was trained; parameters are those of the user's own module."""
    module = captured.network.module
    params = _params(module)
    layers = tuple(_layer(site, module, params) for _, site in sites(captured.graph))
    height, width = (*captured.network.examples[0].shape[2:], 1, 1)[:2]
    macs = sum(layer_macs(captured.graph).values())
    twin = static_twin(captured, mean_heads(captured, [captured.network.examples]))
    return NetworkSummary(
        None,
        title,
        int(height),
        int(width),
        layers,
        params,
        macs,
        _params(twin.graph.module),
        twin_macs(captured.graph),
    )


def _layer(site: LayerSite, module: nn.Module, params: int) -> LayerSummary:
    shape, g = site.shape, site.shape.geometry
    own = _params(module.get_submodule(site.path.partition("#")[0]))
    static = static_macs(shape, site.size.outputs)
    return LayerSummary(
        name=site.path,
        C=g.C,
        K=g.K,
        L=shape.latent,
        S=_squeezed(shape),
        kernel=g.kernel[0],
        stride=g.stride[0],
        height=site.size.in_height,
        width=site.size.in_width,
        macs_static=static,
        macs_branch=macs_as_trained(shape, site.size.outputs) - static,
        params=own,
        params_share=own / params,
        family=shape.family,
        kernels=shape.kernels,
        kernel_width=g.kernel[1],
    )


def _squeezed(shape: OperatorShape) -> int:
    return shape.stages[-1][1] if shape.stages else 0


def _params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
