"""Networks of ``timm``, as they are, with random weights: the code of others that has to go through ours unchanged.

timm imports torchvision, whose compiled operators do not load beside a torch that was built for CPUs alone; its Python
part then stumbles over two of them that it only wants to describe. Where that happens, they are declared here, without
an implementation, and nothing that timm's networks compute needs one.
"""

from __future__ import annotations

import functools
import importlib
import sys
from types import ModuleType

import torch
from torch import Tensor, nn

from dcd_deploy.models.random_weights import pictures
from dcd_deploy.samples import InputSpec, generated_inputs

CONDCONV = ("tf_efficientnet_cc_b0_4e", "tf_efficientnet_cc_b0_8e", "tf_efficientnet_cc_b1_8e")
DESCRIBED = ("nms", "qnms")  # torchvision's operators; (boxes, scores, threshold) → indices


@functools.cache
def timm() -> ModuleType:
    """Import timm, with those operators of torchvision declared that its own library does not bring."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        _declared()
    return importlib.import_module("timm")


@functools.cache
def _declared() -> torch.library.Library:
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in DESCRIBED:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


@functools.cache
def network(name: str, side: int = 64, classes: int = 10) -> nn.Module:
    """Return a network of timm in eval mode, float32, whose norms have seen images of this side.

    It is made once: copy it before changing it.
    """
    torch.manual_seed(0)
    module = timm().create_model(name, pretrained=False, num_classes=classes)
    with torch.no_grad():
        for path, part in module.named_modules():
            if path.endswith("routing_fn"):  # as it is initialised, all images would be routed nearly alike
                part.weight.mul_(8)
    return calibrated(module, images(side))


def condconv_blocks(classes: int = 10, blocks: int = 3) -> nn.Module:
    """Return the stem of ``tf_efficientnet_cc_b0_4e``, its first block, and those of the first stage with CondConv.

    All of it is as timm has it, but for the convolution that leads over the stages between; its weights are random.
    """
    whole = timm().create_model(CONDCONV[0], pretrained=False)
    over = nn.Sequential(nn.Conv2d(16, 80, 3, 2, 1, bias=False), nn.BatchNorm2d(80))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(112, classes))
    return nn.Sequential(whole.conv_stem, whole.bn1, whole.blocks[0], over, whole.blocks[4][:blocks], head)


def images(side: int) -> Tensor:
    """Return images from noise to nearly plain ones: far from what its norms have seen, such a network explodes."""
    drawn = [generated_inputs((InputSpec("input", (3, side, side)),), None, 8, contrast)[0] for contrast in (1, 0.5)]
    return torch.cat([torch.randn(4, 3, side, side), pictures(side), *map(torch.from_numpy, drawn)])


def calibrated(module: nn.Module, images: Tensor) -> nn.Module:
    """Give the norms of a module the statistics of these images, and weights and biases that are no identity."""
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    module.eval()
    with torch.no_grad():
        for norm in norms:
            norm.train().momentum = 1.0
            norm.weight.uniform_(0.7, 1.3)
            norm.bias.uniform_(-0.3, 0.3)
        module(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return module.eval()


def arguments(module: nn.Module, x: Tensor) -> dict[str, tuple[Tensor, ...]]:
    """Return what every submodule is called with when the module sees x, by path."""
    seen: dict[str, tuple[Tensor, ...]] = {}

    def note(path: str):
        return lambda _, args: seen.setdefault(path, args) and None

    hooks = [part.register_forward_pre_hook(note(path)) for path, part in module.named_modules()]
    with torch.no_grad():
        module(x)
    for hook in hooks:
        hook.remove()
    return seen
