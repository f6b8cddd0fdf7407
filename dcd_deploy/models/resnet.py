"""ResNet-DCD and its static twin, in train form under upstream key names.

    conv1, bn1            stem, 7×7 stride 2, then a 3×3 stride 2 max pool
    layer1 .. layer4      blocks whose convolutions are all dynamic; ``downsample`` is static
    classifier.N          dynamic (or linear) classifier

Upstream pools 7×7 at the end, which fits 224×224 alone; pooling globally is the same function there, and any size
works.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from dcd_deploy.models.dynamic import ResNetDynamicConv
from dcd_deploy.models.geometry import basic_geometry, bottleneck_geometry
from dcd_deploy.models.mobilenetv2 import make_classifier
from dcd_deploy.models.spec import NetworkSpec

STAGE_WIDTHS = (64, 128, 256, 512)


class Block(nn.Module):
    """Convolutions ``convI`` with BatchNorms ``bnI``, ReLU after each, the block's input added before the last."""

    expansion: ClassVar[int]

    def __init__(self, inputs: int, width: int, stride: int, *, dynamic: bool) -> None:
        super().__init__()
        for i, conv in enumerate(self.make_convs(inputs, width, stride, dynamic=dynamic), start=1):
            self.add_module(f"conv{i}", conv)
            self.add_module(f"bn{i}", nn.BatchNorm2d(width * self.expansion if i == self.depth else width))
        self.relu = nn.ReLU(inplace=True)
        outputs = width * self.expansion
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    depth: ClassVar[int]

    @staticmethod
    def make_convs(inputs: int, width: int, stride: int, *, dynamic: bool) -> list[nn.Module]:
        """Return the block's convolutions in order."""
        raise NotImplementedError

    def layers(self) -> list[tuple[nn.Module, nn.Module]]:
        """Return (convolution, BatchNorm) in order."""
        return [(self.get_submodule(f"conv{i}"), self.get_submodule(f"bn{i}")) for i in range(1, self.depth + 1)]

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        *first, (last_conv, last_bn) = self.layers()
        for conv, bn in first:
            x = self.relu(bn(conv(x)))
        y: Tensor = self.relu(last_bn(last_conv(x)) + shortcut)
        return y


class BasicBlock(Block):
    """Two 3×3 convolutions (ResNet-10, 18 and 34)."""

    expansion, depth = 1, 2

    @staticmethod
    def make_convs(inputs: int, width: int, stride: int, *, dynamic: bool) -> list[nn.Module]:
        if dynamic:
            return [
                ResNetDynamicConv(basic_geometry(inputs, width, stride)),
                ResNetDynamicConv(basic_geometry(width, width, 1)),
            ]
        return [
            nn.Conv2d(inputs, width, 3, stride, 1, bias=False),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
        ]


class Bottleneck(Block):
    """1×1 down, 3×3 with the stride, 1×1 up (ResNet-50, 101 and 152)."""

    expansion, depth = 4, 3

    @staticmethod
    def make_convs(inputs: int, width: int, stride: int, *, dynamic: bool) -> list[nn.Module]:
        sizes = ((inputs, width, 1, 1), (width, width, 3, stride), (width, width * 4, 1, 1))
        if dynamic:
            return [ResNetDynamicConv(bottleneck_geometry(*size)) for size in sizes]
        return [nn.Conv2d(c, k, kernel, s, kernel // 2, bias=False) for c, k, kernel, s in sizes]


DEPTHS: dict[str, tuple[type[Block], tuple[int, int, int, int]]] = {
    "resnet10": (BasicBlock, (1, 1, 1, 1)),
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
    "resnet152": (Bottleneck, (3, 8, 36, 3)),
}


class ResNet(nn.Module):
    """The ResNet of ``spec``: (N, 3, H, W) to (N, classes)."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        block, repeats = DEPTHS[spec.twin().arch]
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = 64
        for i, (width, count) in enumerate(zip(STAGE_WIDTHS, repeats, strict=True), start=1):
            self.add_module(
                f"layer{i}", make_stage(block, inputs, width, count, stride=1 if i == 1 else 2, dynamic=spec.dynamic)
            )
            inputs = width * block.expansion
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = make_classifier(spec, inputs)

    def blocks(self) -> list[Block]:
        """Return the residual blocks in order."""
        return [m for i in range(1, 5) for m in self.get_submodule(f"layer{i}").children() if isinstance(m, Block)]

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for block in self.blocks():
            x = block(x)
        logits: Tensor = self.classifier(self.avgpool(x).flatten(1))
        return logits


def make_stage(block: type[Block], inputs: int, width: int, count: int, *, stride: int, dynamic: bool) -> nn.Sequential:
    """Return ``count`` blocks, the first with the stride and the change of width."""
    rest = [block(width * block.expansion, width, 1, dynamic=dynamic) for _ in range(count - 1)]
    return nn.Sequential(block(inputs, width, stride, dynamic=dynamic), *rest)
