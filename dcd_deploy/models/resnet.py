"""ResNet-DCD and its static twin, in train form under upstream key names.

    conv1, bn1            stem, 7×7 stride 2, then a 3×3 stride 2 max pool
    layer1 .. layer4      blocks whose convolutions are all dynamic; ``downsample`` is static
    classifier.N          dynamic (or linear) classifier

Upstream pools 7×7 at the end, which fits 224×224 alone; pooling globally is the same function there, and any size
works.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from dcd_deploy.errors import ModelFileError
from dcd_deploy.models.dynamic import Constants, ResNetDynamicConv
from dcd_deploy.models.geometry import basic_geometry, bottleneck_geometry, own_geometry
from dcd_deploy.models.mobilenetv2 import make_classifier
from dcd_deploy.models.spec import NetworkSpec

STAGE_WIDTHS = (64, 128, 256, 512)
STEM, STEM_KERNEL = 64, 7
SMALL_KERNEL = 3  # of stems for small pictures, which keep their size
STRIDES = (2, 1, 2, 2, 2)  # of the stem and the four stages

MakeConv = Callable[[str, int, int, int, int], nn.Module]  # name, inputs, outputs, kernel, stride


class Block(nn.Module):
    """Convolutions ``convI`` with BatchNorms ``bnI``, ReLU after each, the block's input added before the last.

    ``outputs`` are those of the convolutions in order.
    """

    expansion: ClassVar[int]
    depth: ClassVar[int]
    kernels: ClassVar[tuple[int, ...]]
    strided: ClassVar[int]  # the convolution with the stride

    def __init__(self, name: str, inputs: int, outputs: tuple[int, ...], stride: int, conv: MakeConv) -> None:
        super().__init__()
        channels = inputs
        for i, (kernel, wide) in enumerate(zip(self.kernels, outputs, strict=True), start=1):
            step = stride if i == self.strided else 1
            self.add_module(f"conv{i}", conv(f"{name}.conv{i}", channels, wide, kernel, step))
            self.add_module(f"bn{i}", nn.BatchNorm2d(wide))
            channels = wide
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    @classmethod
    def widths(cls, width: int) -> tuple[int, ...]:
        """Return the outputs of the block's convolutions in a stage of this width."""
        return (*(width,) * (cls.depth - 1), width * cls.expansion)

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

    expansion, depth, kernels, strided = 1, 2, (3, 3), 1


class Bottleneck(Block):
    """1×1 down, 3×3 with the stride, 1×1 up (ResNet-50, 101 and 152)."""

    expansion, depth, kernels, strided = 4, 3, (1, 3, 1), 2


def plain_conv(name: str, inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
    """Return the static convolution that a dynamic one replaces."""
    del name
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


def dynamic_conv(spec: NetworkSpec, block: type[Block]) -> MakeConv:
    """Return a maker of dynamic convolutions by the rule of the kind of block, or with the sizes of ``spec``."""

    def make(name: str, inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
        basic = block is BasicBlock
        rule = (
            basic_geometry(inputs, outputs, stride) if basic else bottleneck_geometry(inputs, outputs, kernel, stride)
        )
        return ResNetDynamicConv(own_geometry(spec, name, rule), Constants.of(spec))

    return make


DEPTHS: dict[str, tuple[type[Block], tuple[int, int, int, int]]] = {
    "resnet10": (BasicBlock, (1, 1, 1, 1)),
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
    "resnet152": (Bottleneck, (3, 8, 36, 3)),
}


def convolutions_of(spec: NetworkSpec) -> tuple[int, tuple[tuple[tuple[int, ...], ...], ...]]:
    """Return the stem's channels, and for every block of every stage the outputs of its convolutions.

    Raises:
        ModelFileError: the channels of ``spec`` are too few or too many.
    """
    block, repeats = DEPTHS[spec.twin().arch]
    usual = tuple(block.widths(width) for width in STAGE_WIDTHS)
    if not spec.channels:
        return STEM, tuple((widths,) * count for widths, count in zip(usual, repeats, strict=True))
    if len(spec.channels) != 1 + block.depth * sum(repeats):
        raise ModelFileError(expected=f"{1 + block.depth * sum(repeats)} channels of {spec.arch}", found="others")
    stem, *outputs = spec.channels
    each = iter(zip(*[iter(outputs)] * block.depth, strict=True))
    return stem, tuple(tuple(next(each) for _ in range(count)) for count in repeats)


class ResNet(nn.Module):
    """The ResNet of ``spec``: (N, C, H, W) to (N, classes or features).

    A stem with a small kernel, for small pictures, keeps their size: it has stride 1 and no pool, unless ``spec`` says
    otherwise.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        block = DEPTHS[spec.twin().arch][0]
        inputs, stages = convolutions_of(spec)
        first, *strides = spec.stage_strides(usual_strides(spec))
        kernel = spec.stem_kernel or STEM_KERNEL
        self.conv1 = nn.Conv2d(spec.in_channels, inputs, kernel, first, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if spec.stem_pool else nn.Identity()
        conv = dynamic_conv(spec, block) if spec.dynamic else plain_conv
        for i, (outputs, stride) in enumerate(zip(stages, strides, strict=True), start=1):
            blocks = []
            for j, widths in enumerate(outputs):
                blocks.append(block(f"layer{i}.{j}", inputs, widths, 1 if j else stride, conv))
                inputs = widths[-1]
            self.add_module(f"layer{i}", nn.Sequential(*blocks))
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


def usual_strides(spec: NetworkSpec) -> tuple[int, ...]:
    """Return the strides of the stem and the stages where nobody says otherwise."""
    return (1, *STRIDES[1:]) if spec.stem_kernel == SMALL_KERNEL else STRIDES
