"""What a network of the registry costs, layer by layer, beside its static twin: map sizes and multiply-adds.

They are found by running it for shapes alone, where every layer answers with an empty map:

    convolution, pool      (N, C, H, W) → (N, K, ⌊(H + 2 pad - k) / stride⌋ + 1, …)
    norm, activation       unchanged
    dynamic layer          as its W0; Q and P are asked too, so that their sizes are seen
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dcd_deploy.errors import OptionError
from dcd_deploy.models.dynamic import DynamicConv2d, DynamicLayer, DynamicLinear
from dcd_deploy.models.mobilenetv2 import MobileNetV2
from dcd_deploy.models.registry import build
from dcd_deploy.models.resnet import ResNet
from dcd_deploy.models.spec import NetworkSpec

Shape = Callable[[nn.Module, Tensor], Tensor]


@contextmanager
def shapes_alone(network: nn.Module) -> Iterator[None]:
    """Let the layers of ``network`` answer with empty maps inside the block; it runs on no image (0, C, H, W) then."""
    changed = []
    for module in network.modules():
        answer = next((way for kind, way in WAYS if isinstance(module, kind)), None)
        if answer is not None:
            module.forward = partial(answer, module)
            changed.append(module)
    try:
        yield
    finally:
        for module in changed:
            del module.forward  # what its class says is found again


def _same(module: nn.Module, x: Tensor) -> Tensor:
    del module
    return x


def _conv(module: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(module, nn.Conv2d)
    return x.new_empty(len(x), module.out_channels, *_empty_plane(x, module.kernel_size, module.stride, module.padding))


def _max_pool(module: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(module, nn.MaxPool2d)
    return x.new_empty(*x.shape[:2], *_empty_plane(x, module.kernel_size, module.stride, module.padding))


def _empty_plane(x: Tensor, *window: Any) -> tuple[int, int]:
    """Return the height and width behind a window: kernel, stride and padding, each a number or a pair."""
    (k1, k2), (s1, s2), (p1, p2) = ((each, each) if isinstance(each, int) else each for each in window)
    _, _, height, width = x.shape
    return (height + 2 * p1 - k1) // s1 + 1, (width + 2 * p2 - k2) // s2 + 1


def _global_pool(module: nn.Module, x: Tensor) -> Tensor:
    del module
    return x.new_empty(*x.shape[:2], 1, 1)


def _dynamic(module: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(module, DynamicConv2d)
    module.project(module.query(x))
    y: Tensor = module.static(x)
    return y


def _classifier(module: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(module, DynamicLinear)
    module.cls_p(module.cls_q(x))
    y: Tensor = module.cls(x)
    return y


def _linear(module: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(module, nn.Linear)
    return x.new_empty(len(x), module.out_features)


WAYS: tuple[tuple[type[nn.Module] | tuple[type[nn.Module], ...], Shape], ...] = (
    (nn.Conv2d, _conv),
    (DynamicConv2d, _dynamic),
    (DynamicLinear, _classifier),
    ((nn.BatchNorm1d, nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.Dropout), _same),
    (nn.MaxPool2d, _max_pool),
    (nn.AdaptiveAvgPool2d, _global_pool),
    (nn.Linear, _linear),
)


SMALLEST_INPUT = 32  # five halvings leave one pixel
LARGEST_INPUT = 4096  # beyond it the float64 reference alone takes tens of gigabytes


Plane = tuple[int, int]  # height and width of a map; 1×1 of a vector
Planes = dict[str, tuple[Plane, Plane]]  # of a layer's input and output, by its name in the train form


def check_input_size(height: int, width: int) -> None:
    """Raise OptionError if the networks cannot take an input of this size."""
    if min(height, width) < SMALLEST_INPUT:
        raise OptionError(
            expected=f"an input size of at least {SMALLEST_INPUT}×{SMALLEST_INPUT}",
            found=f"{height}×{width}",
            advice="choose a larger `input_size`",
        )
    if max(height, width) > LARGEST_INPUT:
        raise OptionError(
            expected=f"an input size of at most {LARGEST_INPUT}×{LARGEST_INPUT}",
            found=f"{height}×{width}",
            advice="choose a smaller `input_size`",
        )


def skeleton(spec: NetworkSpec) -> nn.Module:
    """Return the network without weights, in eval mode."""
    with torch.device("meta"):
        return build(spec).eval()


def sizes_of(network: nn.Module, height: int, width: int) -> Planes:
    """Return the sizes at every layer of a network of the registry that has no weights.

    Its layers are asked for their shapes alone (``shapes_alone``): torch's own computation without data would first
    load its compiler, which takes longer than all else.
    """
    assert isinstance(network, MobileNetV2 | ResNet)
    images = torch.empty(0, network.spec.in_channels, height, width)
    with shapes_alone(network):
        return module_sizes(network, images)


def module_sizes(network: nn.Module, images: Tensor) -> Planes:
    """Return the sizes at every module of a network that is run on ``images``, by its name."""
    sizes: Planes = {}
    hooks = [module.register_forward_hook(_recorder(sizes, name)) for name, module in network.named_modules()]
    with torch.no_grad():
        network(images)
    for hook in hooks:
        hook.remove()
    return sizes


def macs_of(network: nn.Module, sizes: Planes) -> dict[str, int]:
    """Return the multiply-adds of every convolution, linear layer and Φ product, in the order of the train form.

    A Φ product is listed under the name of its layer followed by ``.phi``.
    """
    macs = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            macs[name] = module.weight.numel() * math.prod(sizes[name][1])
        elif isinstance(module, nn.Linear):
            macs[name] = module.weight.numel()
        elif isinstance(module, DynamicLayer):
            pixels = math.prod(sizes[name][1]) if isinstance(module, DynamicConv2d) else 1
            macs[f"{name}.phi"] = module.geometry.L**2 * pixels
    return macs


def _recorder(sizes: Planes, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        del module
        sizes[name] = (_plane(inputs[0]), _plane(output))

    return record


def _plane(tensor: Tensor) -> Plane:
    return (tensor.shape[2], tensor.shape[3]) if tensor.dim() == 4 else (1, 1)


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
    params = parameter_count(network)
    layers = []
    for name, module in network.named_modules():
        if isinstance(module, DynamicLayer):
            g, ((height_in, width_in), _) = module.geometry, sizes[name]
            static_name = f"{name}.{'conv' if isinstance(module, DynamicConv2d) else 'cls'}"
            inside = sum(count for layer, count in macs.items() if layer.startswith(f"{name}."))
            static, own = macs[static_name], parameter_count(module)
            layers.append(
                LayerSummary(
                    name, g.C, g.K, g.L, g.S, g.kernel, g.stride, height_in, width_in,
                    static, inside - static, own, own / params,
                )
            )  # fmt: skip
    twin_macs = sum(macs_of(twin, sizes_of(twin, height, width)).values())
    return NetworkSummary(
        spec,
        spec.describe(),
        height,
        width,
        tuple(layers),
        params,
        sum(macs.values()),
        parameter_count(twin),
        twin_macs,
    )


def parameter_count(module: nn.Module) -> int:
    """Return how many numbers a module has as parameters."""
    return sum(parameter.numel() for parameter in module.parameters())
