"""Feature-map sizes and multiply-adds of every layer, found by running the network without data."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from dcd_deploy.errors import OptionError
from dcd_deploy.models.dynamic import DynamicConv2d, DynamicLayer
from dcd_deploy.models.mobilenetv2 import MobileNetV2
from dcd_deploy.models.registry import build
from dcd_deploy.models.resnet import ResNet
from dcd_deploy.models.shapes_alone import shapes_alone
from dcd_deploy.models.spec import NetworkSpec

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
