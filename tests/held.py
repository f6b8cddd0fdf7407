"""Small networks with lively BatchNorms, and checkpoints as people hold them."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import nn

from dcd_deploy.models.checkpoint import read_checkpoint
from dcd_deploy.models.fit import Fit, fit_checkpoint, load_network
from dcd_deploy.models.infer import SpecOverrides
from dcd_deploy.models.registry import build
from dcd_deploy.models.spec import NetworkSpec

MOBILE = NetworkSpec("mobilenetv2_dcd", 10, 0.1, 8)
RESNET = NetworkSpec("resnet10_dcd", 10)
STATE = {f"layer{i}.weight": torch.arange(4.0).reshape(2, 2) + i for i in range(5)}  # of no network that is known


def enlivened(network: nn.Module, seed: int = 0) -> nn.Module:
    """Return the network in float64 and eval mode, no BatchNorm of it the identity, its input far from forgotten."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                for tensor, low, high in (
                    (module.weight, 0.7, 1.3),
                    (module.bias, -0.2, 0.2),
                    (module.running_mean, -0.2, 0.2),
                    (module.running_var, 0.7, 1.3),
                ):
                    tensor.uniform_(low, high, generator=generator)
            elif isinstance(module, nn.Conv2d | nn.Linear):
                gain = 1.2 if isinstance(module, nn.Conv2d) else 0.3  # neither does the input's part vanish nor explode
                scale = gain / math.sqrt(module.weight[0].numel())
                module.weight.normal_(0, scale, generator=generator)
    return network.double().eval()


def network_of(spec: NetworkSpec, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return enlivened(build(spec), seed)


def pictures(channels: int = 3, size: int = 32, count: int = 2) -> torch.Tensor:
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def held(path: Path, state: dict[str, torch.Tensor], overrides: SpecOverrides | None = None, **options) -> Fit:
    """Write the tensors to a file, read it back, and return the network that it is."""
    torch.save(state, path)
    return fit_checkpoint(read_checkpoint(path, **options), overrides)


def answers(fit: Fit, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = load_network(fit.checkpoint, fit.spec)(images)
    return found


IMAGES = pictures()


def wanted_of(network: nn.Module, images: torch.Tensor = IMAGES) -> torch.Tensor:
    with torch.no_grad():
        wanted: torch.Tensor = network(images)
    return wanted


def same(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Whether the answers are those that are wanted, which differ from picture to picture."""
    assert wanted.isfinite().all()
    assert (wanted[0] - wanted[1]).abs().max() > 1e-6 * (wanted.max() - wanted.min())
    return bool((found - wanted).abs().max() <= 1e-12 * (wanted.max() - wanted.min()))
