"""What a network costs, layer by layer, beside its static twin."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from dcd_deploy.models.dynamic import DynamicConv2d, DynamicLayer
from dcd_deploy.models.sizes import macs_of, sizes_of, skeleton
from dcd_deploy.models.spec import NetworkSpec


@dataclass(frozen=True)
class LayerSummary:
    """One dynamic layer: its sizes, and the multiply-adds of its static part (W0) and of its branch (all else)."""

    name: str
    C: int
    K: int
    L: int
    S: int
    kernel: int
    stride: int
    height: int
    width: int
    macs_static: int
    macs_branch: int
    params: int
    params_share: float  # of all parameters of the network, 0..1
    family: str = "dcd"
    kernels: int = 0  # M, of a mixture of kernels
    kernel_width: int | None = None  # where it is not the height


@dataclass(frozen=True)
class NetworkSummary:
    """A network at one input size, its dynamic layers, and its totals beside the static twin's.

    ``title`` is ``spec.describe()``, or of a user's own network, which has no ``spec``, its class's name.
    """

    spec: NetworkSpec | None
    title: str
    height: int
    width: int
    layers: tuple[LayerSummary, ...]
    params: int
    macs: int
    twin_params: int
    twin_macs: int


def summarise(spec: NetworkSpec, height: int, width: int) -> NetworkSummary:
    """Count the network of ``spec`` for inputs of height × width, in the order in which it was trained."""
    network, twin = skeleton(spec), skeleton(spec.twin())
    sizes = sizes_of(network, height, width)
    macs = macs_of(network, sizes)
    params = _params(network)
    layers = []
    for name, module in network.named_modules():
        if isinstance(module, DynamicLayer):
            g, ((height_in, width_in), _) = module.geometry, sizes[name]
            static_name = f"{name}.{'conv' if isinstance(module, DynamicConv2d) else 'cls'}"
            inside = sum(count for layer, count in macs.items() if layer.startswith(f"{name}."))
            static, own = macs[static_name], _params(module)
            layers.append(
                LayerSummary(
                    name, g.C, g.K, g.L, g.S, g.kernel, g.stride, height_in, width_in,
                    static, inside - static, own, own / params,
                )
            )  # fmt: skip
    twin_macs = sum(macs_of(twin, sizes_of(twin, height, width)).values())
    return NetworkSummary(
        spec, spec.describe(), height, width, tuple(layers), params, sum(macs.values()), _params(twin), twin_macs
    )


def _params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
