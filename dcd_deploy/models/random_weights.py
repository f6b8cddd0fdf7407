"""Networks with random weights and live BatchNorm statistics, where no trained checkpoint can be had.

Fresh BatchNorms are the identity and hide every error of the folds; random deep dynamic networks without calibrated
statistics amplify rounding beyond all bounds. So the statistics are averaged over random pictures, layer upon layer.
A dynamic layer is quadratic in its input: where no ReLU6 bounds the features, a deep network overflows on a picture
unlike those, so the dynamic branch of a deep ResNet is made weaker, and of a very deep one what each block adds, too.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.models.dynamic import DynamicConv2d
from dcd_deploy.models.registry import build
from dcd_deploy.models.resnet import Block
from dcd_deploy.models.spec import NetworkSpec

PATCHES, PICTURES_EACH, ROUNDS = (4, 8, 16, 32), 4, 2
DEEP = 17  # dynamic layers that a network with unbounded features bears at full strength
MANY = 16  # blocks, likewise


def calibrated_network(spec: NetworkSpec, size: int = 64) -> nn.Module:
    """Return a float64 train-form network in eval mode whose BatchNorms are far from the identity."""
    torch.manual_seed(0)
    network = build(spec)
    depth = sum(isinstance(module, DynamicConv2d) for module in network.modules())
    bounded = any(isinstance(module, nn.ReLU6) for module in network.modules())
    strength = 1.0 if bounded or depth <= DEEP else DEEP / depth
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            dynamic = isinstance(module, nn.BatchNorm1d) and name.endswith("bn2")
            nn.init.uniform_(module.weight, *((0.1 * strength, 0.3 * strength) if dynamic else (0.7, 1.3)))
            nn.init.normal_(module.bias, 0.0, 0.1)
            module.momentum = None  # average over all that it sees
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
    _damp_blocks(network)
    network.train()
    with torch.no_grad():
        for _ in range(ROUNDS):
            network(pictures(size, spec.in_channels))
    return network.double().eval()


def _damp_blocks(network: nn.Module) -> None:
    """Make what each block adds to its input smaller, where there are many."""
    blocks = [module for module in network.modules() if isinstance(module, Block)]
    with torch.no_grad():
        for block in blocks:
            _, norm = block.layers()[-1]
            norm.get_parameter("weight").mul_(min(1.0, MANY / len(blocks)))


def pictures(size: int, channels: int = 3) -> Tensor:
    """Return pictures (n, channels, size, size) of coarse to fine patches with noise, each with its own colour."""
    grids = [grid for grid in PATCHES for _ in range(PICTURES_EACH)]
    coarse = torch.cat([F.interpolate(torch.randn(1, channels, grid, grid), size) for grid in grids])
    return coarse + 0.3 * torch.randn_like(coarse) + 0.5 * torch.randn(len(coarse), channels, 1, 1)


def save_checkpoint(path: Path, network: nn.Module, arch: str = "") -> Path:
    """Write what the published training script writes."""
    state = {f"module.{key}": value.float() for key, value in network.state_dict().items()}
    content = {"epoch": 1, "arch": arch, "state_dict": state, "best_prec1": torch.tensor(0.0), "optimizer": {}}
    torch.save(content, path)
    return path
