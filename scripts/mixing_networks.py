"""Two networks of nobody's, with the dynamic convolutions that mix kernels, for ``conformance.py``.

dy_conv_residual    residual blocks of 3×3 DY-Conv (arXiv 1912.03458)
condconv_mobile     inverted bottlenecks of CondConv (arXiv 1904.04971), squeeze-excitation, hard-swish
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MixedConv(nn.Module):
    """Σ π_m W_m over M kernels of one convolution, for each sample; ``routing`` gives π (N, M)."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, routing: nn.Module, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.routing, self.stride, self.padding, self.groups = routing, stride, kernel // 2, groups
        bank = torch.randn(4, outputs, inputs // groups, kernel, kernel)
        self.weight = nn.Parameter(bank * (2 / bank[0, 0].numel()) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.mm(self.routing(x), self.weight.flatten(1)).view(-1, *self.weight.shape[2:])
        n, _, height, width = x.shape
        y = F.conv2d(
            x.reshape(1, -1, height, width), weight, None, self.stride, self.padding, 1, groups=n * self.groups
        )
        return y.view(n, -1, *y.shape[2:])


class SoftmaxRouting(nn.Module):
    """π of DY-Conv: a squeeze, and a softmax at a temperature of 4."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool, self.temperature = nn.AdaptiveAvgPool2d(1), 4.0
        self.fc1, self.fc2 = nn.Conv2d(channels, 8, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.softmax(self.fc2(F.relu(self.fc1(self.pool(x)))).flatten(1) / self.temperature, 1)


def sigmoid_routing(channels: int) -> nn.Module:
    """π of CondConv: sigmoids of one linear layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 4), nn.Sigmoid())


class Residual(nn.Module):
    """Two 3×3 DY-Convs around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = MixedConv(inputs, outputs, 3, SoftmaxRouting(inputs), stride)
        self.conv2 = MixedConv(outputs, outputs, 3, SoftmaxRouting(outputs))
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class SqueezeExcite(nn.Module):
    """Channels scaled by a hard sigmoid of their means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, 8, 1), nn.Conv2d(8, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(self.expand(F.relu(self.reduce(x.mean((2, 3), keepdim=True)))))


class Bottleneck(nn.Module):
    """Expand, filter and project by CondConv, with squeeze-excitation between."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        wide = 4 * inputs
        self.expand = MixedConv(inputs, wide, 1, sigmoid_routing(inputs))
        self.filter = MixedConv(wide, wide, 3, sigmoid_routing(wide), stride, groups=wide)
        self.excite = SqueezeExcite(wide)
        self.project = MixedConv(wide, outputs, 1, sigmoid_routing(wide))
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm2d(wide), nn.BatchNorm2d(wide), nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = F.hardswish(self.bn1(self.expand(x)))
        y = self.excite(F.hardswish(self.bn2(self.filter(y))))
        projected: Tensor = self.bn3(self.project(y))
        return projected


def dy_conv_residual(classes: int = 100) -> nn.Module:
    """Return the network of 3×3 DY-Convs; its parameters are random."""
    stem = nn.Sequential(nn.Conv2d(3, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU())
    blocks = [Residual(24, 32, 2), Residual(32, 64, 2), Residual(64, 96, 2)]
    return nn.Sequential(stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, classes))


def condconv_mobile(classes: int = 100) -> nn.Module:
    """Return the network of CondConv bottlenecks; its parameters are random."""
    stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.Hardswish())
    blocks = [Bottleneck(16, 24, 2), Bottleneck(24, 40, 2), Bottleneck(40, 80, 2), Bottleneck(80, 80, 1)]
    return nn.Sequential(stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(80, classes))


NETWORKS = {"dy_conv_residual": dy_conv_residual, "condconv_mobile": condconv_mobile}


def calibrated(name: str, side: int) -> nn.Module:
    """Return a network whose norms have seen pictures of that side, in eval mode."""
    torch.manual_seed(0)
    network = NETWORKS[name]()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, 0.0, 0.1)
            module.momentum = None
    with torch.no_grad():
        network.train()
        network(torch.randn(8, 3, side, side) + torch.randn(8, 3, 1, 1))
    return network.eval()
