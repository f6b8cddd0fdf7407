"""What a captured network costs, layer by layer, beside its static twin: of any module what ``models.sizes`` says."""

from __future__ import annotations

from torch import nn

from dcd_deploy.dynamic.shape import OperatorShape, macs_as_trained, static_macs
from dcd_deploy.lowering.capture import Captured
from dcd_deploy.lowering.counts import layer_macs, twin_macs
from dcd_deploy.lowering.passes.substitute import LayerSite, sites
from dcd_deploy.lowering.static_twin import mean_heads, static_twin
from dcd_deploy.models.sizes import LayerSummary, NetworkSummary, parameter_count


def summarise_captured(captured: Captured, title: str) -> NetworkSummary:
    """Count a network in the order in which it was trained; parameters are those of the user's own module."""
    module = captured.network.module
    params = parameter_count(module)
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
        parameter_count(twin.graph.module),
        twin_macs(captured.graph),
    )


def _layer(site: LayerSite, module: nn.Module, params: int) -> LayerSummary:
    shape, g = site.shape, site.shape.geometry
    own = parameter_count(module.get_submodule(site.path.partition("#")[0]))
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
