"""MobileNetV2-DCD and its static twin, in train form under upstream key names.

features.0            stem, 3×3 stride 2
features.1            the t = 1 block, static in both
features.2 .. 17      inverted residuals: expand 1×1 (dynamic), depthwise 3×3 (static), project 1×1 (dynamic)
conv                  1×1 to 1280
classifier.N          dynamic (or linear) classifier
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from dcd_deploy.models.dynamic import DynamicLinear, MobileNetDynamicConv
from dcd_deploy.models.geometry import classifier_geometry, mobilenet_geometry
from dcd_deploy.models.spec import NetworkSpec

MakeConv = Callable[[int, int], nn.Module]

# expansion t, channels c, repeats n, stride s of the first repeat (MobileNetV2, arXiv 1801.04381, table 2)
BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
STEM = 32
HEAD = 1280


def divisible(channels: float, divisor: int) -> int:
    """Round ``channels`` to a multiple of ``divisor``, never below it and never losing more than a tenth."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def channel_plan(width_mult: float) -> tuple[int, list[tuple[int, int, int, int]], int]:
    """Return the stem's channels, (inputs, outputs, stride, expansion) of every block, and the head's channels."""
    divisor = 4 if width_mult == 0.1 else 8
    stem = inputs = divisible(STEM * width_mult, divisor)
    blocks = []
    for expansion, channels, repeats, first_stride in BLOCKS:
        outputs = divisible(channels * width_mult, divisor)
        for repeat in range(repeats):
            blocks.append((inputs, outputs, first_stride if repeat == 0 else 1, expansion))
            inputs = outputs
    head = divisible(HEAD * width_mult, divisor) if width_mult > 1 else HEAD
    return stem, blocks, head


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project back; plus the input where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, conv1x1: MakeConv) -> None:
        super().__init__()
        hidden = inputs * expansion
        depthwise = (
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
        )
        if expansion == 1:
            layers = [*depthwise, plain1x1(hidden, outputs), nn.BatchNorm2d(outputs)]
        else:
            expand = (conv1x1(inputs, hidden), nn.BatchNorm2d(hidden), nn.ReLU6(inplace=True))
            layers = [*expand, *depthwise, conv1x1(hidden, outputs), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """MobileNetV2 of ``spec``: any width, squeeze, number of classes and input size; (N, 3, H, W) to (N, classes)."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        conv1x1 = dynamic1x1(spec.fc_squeeze) if spec.dynamic else plain1x1
        stem, blocks, head = channel_plan(spec.width_mult)
        self.features = nn.Sequential(conv_bn_relu6(3, stem, 3, 2), *(InvertedResidual(*b, conv1x1) for b in blocks))
        self.conv = conv_bn_relu6(blocks[-1][1], head, 1, 1)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = make_classifier(spec, head)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.avgpool(self.conv(self.features(x))).flatten(1))
        return logits


def make_classifier(spec: NetworkSpec, inputs: int) -> nn.Sequential:
    """Return the classifier at index 1 behind a dropout, or at index 0 without one."""
    classes = spec.num_classes
    last = DynamicLinear(classifier_geometry(inputs, classes)) if spec.dynamic else nn.Linear(inputs, classes)
    return nn.Sequential(nn.Dropout(spec.dropout), last) if spec.dropout > 0 else nn.Sequential(last)


def conv_bn_relu6(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    """Return a plain convolution with its BatchNorm and ReLU6."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))


def plain1x1(inputs: int, outputs: int) -> nn.Module:
    """Return the static 1×1 convolution that a dynamic one replaces."""
    return nn.Conv2d(inputs, outputs, 1, bias=False)


def dynamic1x1(fc_squeeze: int) -> MakeConv:
    """Return a maker of dynamic 1×1 convolutions with this squeeze."""

    def make(inputs: int, outputs: int) -> nn.Module:
        return MobileNetDynamicConv(mobilenet_geometry(inputs, outputs, fc_squeeze))

    return make
