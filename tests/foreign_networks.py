"""Networks that nobody but their user has: dynamic layers inside modules that this package does not know.

Each maker returns a module in eval mode whose BatchNorms are far from the identity, and an example.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.models.dynamic import MobileNetDynamicConv, ResNetDynamicConv
from dcd_deploy.models.geometry import basic_geometry, mobilenet_geometry


def calibrated(network: nn.Module, *example: Tensor, seed: int = 0) -> nn.Module:
    """Give the BatchNorms statistics of what they really see, and weights that are not one and zero."""
    torch.manual_seed(seed)
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            low, high = (0.1, 0.3) if name.endswith("bn2") else (0.7, 1.3)
            nn.init.uniform_(module.weight, low, high)
            nn.init.normal_(module.bias, 0.0, 0.1)
            module.momentum = None
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(*(torch.cat([torch.randn_like(one) for _ in range(8)]) for one in example))
    return network.eval()


def conv3(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    return ResNetDynamicConv(basic_geometry(inputs, outputs, stride))


class ConvNorm(nn.Module):
    def __init__(self, conv: nn.Module, channels: int, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.layer, self.norm = conv, nn.BatchNorm2d(channels)
        self.activation = activation or nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.norm(self.layer(x)))


class Segmenter(nn.Module):
    """An encoder and a decoder with skip connections, and two outputs under names of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(nn.Conv2d(3, 8, 3, 2, 1), 8)
        self.down = ConvNorm(conv3(8, 16, 2), 16)
        self.deep = ConvNorm(conv3(16, 16), 16, nn.SiLU())
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.up_norm = nn.BatchNorm2d(8)
        self.merge = ConvNorm(MobileNetDynamicConv(mobilenet_geometry(16, 24, 4)), 24, nn.ReLU6(inplace=True))
        self.mask = nn.Conv2d(24, 2, 1)
        self.edges = nn.Conv2d(24, 1, 3, padding=1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        early = self.stem(x)
        late = self.deep(self.down(early))
        joined = torch.cat([F.relu(self.up_norm(self.up(late))), early], dim=1)
        features = self.merge(joined)
        mask = F.interpolate(self.mask(features), scale_factor=2, mode="bilinear", align_corners=False)
        return {"mask": mask, "edges": torch.sigmoid(self.edges(features))}


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.expand(F.relu(self.reduce(pooled))))


class Grey(nn.Module):
    """One channel, an odd size, squeeze-excitation, and a dynamic layer whose output two others read."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(nn.Conv2d(1, 12, 3, 2, 1, bias=False), 12, nn.Hardswish())
        self.read_twice = conv3(12, 16)
        self.left = ConvNorm(MobileNetDynamicConv(mobilenet_geometry(16, 16, 4)), 16)
        self.right = nn.Conv2d(16, 16, 1)
        self.excite = SqueezeExcite(16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        shared = self.read_twice(self.stem(x))
        both = self.left(shared) + self.right(shared)
        return self.head(self.excite(both).mean((-2, -1)))


class ShapeFlow(nn.Module):
    """Its control flow depends on shapes, which torch.fx cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.first = ConvNorm(conv3(3, 8, 2), 8)
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        if y.shape[2] > 4:
            y = F.avg_pool2d(y, 2)
        return self.last(y).flatten(1)


class TwoInputs(nn.Module):
    """A picture and a vector; a tuple of a map and a scalar for each sample."""

    def __init__(self) -> None:
        super().__init__()
        self.first = ConvNorm(conv3(3, 8), 8)
        self.shift = nn.Linear(6, 8)

    def forward(self, x: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        y = self.first(x) + self.shift(code)[:, :, None, None]
        return y, y.mean((1, 2, 3))


class Shared(nn.Module):
    """One dynamic layer called twice, on maps of two sizes, behind a norm each."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = conv3(3, 3)
        self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        y = F.max_pool2d(F.relu(self.norms[0](self.layer(x))), 2)
        return self.norms[1](self.layer(y)).flatten(1)


class Plain(nn.Sequential):
    """No dynamic layer at all."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU6(), nn.Flatten(), nn.Linear(2048, 3))


def _made(
    kind: Callable[[], nn.Module], *shape: int, more: tuple[int, ...] = ()
) -> tuple[nn.Module, tuple[Tensor, ...]]:
    torch.manual_seed(1)
    example = (torch.randn(1, *shape), *([torch.randn(1, *more)] if more else []))
    return calibrated(kind(), *example), example


NETWORKS: dict[str, Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]] = {
    "segmenter": lambda: _made(Segmenter, 3, 48, 64),
    "grey": lambda: _made(Grey, 1, 45, 61),
    "shape flow": lambda: _made(ShapeFlow, 3, 40, 40),
    "two inputs": lambda: _made(TwoInputs, 3, 24, 20, more=(6,)),
    "shared": lambda: _made(Shared, 3, 20, 28),
    "plain": lambda: _made(Plain, 3, 32, 32),
}
DYNAMIC_LAYERS = {
    "segmenter": {"down.layer", "deep.layer", "merge.layer"},
    "grey": {"read_twice", "left.layer"},
    "shape flow": {"first.layer"},
    "two inputs": {"first.layer"},
    "shared": {"layer"},
    "plain": set(),
}
