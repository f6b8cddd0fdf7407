"""MobileNetV2-DCD and its static twin, in train form under upstream key names.

features.0            stem, 3×3 stride 2
features.1            the t = 1 block, static in both
features.2 .. 17      inverted residuals: expand 1×1 (dynamic), depthwise 3×3 (static), project 1×1 (dynamic)
conv                  1×1 to 1280
classifier.N          dynamic (or linear) classifier
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from dcd_deploy.errors import ModelFileError
from dcd_deploy.models.dynamic import Constants, DynamicLinear, MobileNetDynamicConv
from dcd_deploy.models.geometry import classifier_geometry, mobilenet_geometry, own_geometry
from dcd_deploy.models.spec import DYNAMIC, NO_HEAD, NetworkSpec

MakeConv = Callable[[str, int, int], nn.Module]  # name, inputs, outputs → a 1×1 convolution

# expansion t, channels c, repeats n of each stage, and the strides of their first blocks (arXiv 1801.04381, table 2)
BLOCKS = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))
STRIDES = (1, 2, 2, 2, 1, 2, 1)
STEM_STRIDE = 2
STEM = 32
HEAD = 1280


def divisible(channels: float, divisor: int) -> int:
    """Round ``channels`` to a multiple of ``divisor``, never below it and never losing more than a tenth."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


@dataclass(frozen=True)
class BlockPlan:
    """An inverted residual: channels in, in its middle and out, and its stride; ``expands`` but for the first."""

    inputs: int
    hidden: int
    outputs: int
    stride: int
    expands: bool


@dataclass(frozen=True)
class ChannelPlan:
    """The stem's channels, every block, and the channels of the last convolution."""

    stem: int
    blocks: tuple[BlockPlan, ...]
    head: int

    @property
    def channels(self) -> tuple[int, ...]:
        """The outputs of all convolutions but the depthwise ones, in order, as ``NetworkSpec.channels`` has them."""
        return (self.stem, *(c for block in self.blocks for c in (block.hidden, block.outputs)), self.head)


def channel_plan(width_mult: float, strides: tuple[int, ...] = STRIDES) -> ChannelPlan:
    """Return the channels of a width, by the usual rounding; the ``strides`` are those of the seven stages."""
    divisor = 4 if width_mult == 0.1 else 8
    stem = inputs = divisible(STEM * width_mult, divisor)
    blocks = []
    for (expansion, channels, repeats), first_stride in zip(BLOCKS, strides, strict=True):
        outputs = divisible(channels * width_mult, divisor)
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            blocks.append(BlockPlan(inputs, inputs * expansion, outputs, stride, expansion != 1))
            inputs = outputs
    head = divisible(HEAD * width_mult, divisor) if width_mult > 1 else HEAD
    return ChannelPlan(stem, tuple(blocks), head)


def plan_of(spec: NetworkSpec) -> ChannelPlan:
    """Return the channels of ``spec``: its own, or those of its width.

    Raises:
        ModelFileError: its own channels or strides are too few or too many.
    """
    plan = channel_plan(spec.width_mult, spec.stage_strides((STEM_STRIDE, *STRIDES))[1:])
    if not spec.channels:
        return plan
    if len(spec.channels) != len(plan.channels):
        raise ModelFileError(expected=f"{len(plan.channels)} channels of {spec.arch}", found=len(spec.channels))
    stem, *inner, head = spec.channels
    inputs, blocks = stem, []
    for block, hidden, outputs in zip(plan.blocks, inner[::2], inner[1::2], strict=True):
        blocks.append(BlockPlan(inputs, hidden if block.expands else inputs, outputs, block.stride, block.expands))
        inputs = outputs
    return ChannelPlan(stem, tuple(blocks), head)


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project back; plus the input where shapes allow."""

    def __init__(self, plan: BlockPlan, conv1x1: MakeConv, name: str) -> None:
        super().__init__()
        inputs, hidden, outputs, stride = plan.inputs, plan.hidden, plan.outputs, plan.stride
        depthwise = (
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
        )
        if not plan.expands:
            layers = [*depthwise, plain1x1("", hidden, outputs), nn.BatchNorm2d(outputs)]
        else:
            expand = (conv1x1(f"{name}.conv.0", inputs, hidden), nn.BatchNorm2d(hidden), nn.ReLU6(inplace=True))
            project = conv1x1(f"{name}.conv.6", hidden, outputs)
            layers = [*expand, *depthwise, project, nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """MobileNetV2 of ``spec``: any width, squeeze, head and input size; (N, C, H, W) to (N, classes or features)."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        conv1x1 = dynamic1x1(spec) if spec.dynamic else plain1x1
        plan, stem_stride = plan_of(spec), spec.stage_strides((STEM_STRIDE, *STRIDES))[0]
        blocks = (InvertedResidual(b, conv1x1, f"features.{i}") for i, b in enumerate(plan.blocks, start=1))
        self.features = nn.Sequential(conv_bn_relu6(spec.in_channels, plan.stem, 3, stem_stride), *blocks)
        self.conv = conv_bn_relu6(plan.blocks[-1].outputs, plan.head, 1, 1)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = make_classifier(spec, plan.head)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.avgpool(self.conv(self.features(x))).flatten(1))
        return logits


def make_classifier(spec: NetworkSpec, inputs: int) -> nn.Sequential:
    """Return the classifier at index 1 behind a dropout, or at index 0 without one; empty where there is no head."""
    if spec.head_kind == NO_HEAD:
        return nn.Sequential()
    last: nn.Module = nn.Linear(inputs, spec.num_classes)
    if spec.head_kind == DYNAMIC:
        rule, name = classifier_geometry(inputs, spec.num_classes), f"classifier.{int(spec.dropout > 0)}"
        last = DynamicLinear(own_geometry(spec, name, rule), Constants.of(spec))
    return nn.Sequential(nn.Dropout(spec.dropout), last) if spec.dropout > 0 else nn.Sequential(last)


def conv_bn_relu6(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    """Return a plain convolution with its BatchNorm and ReLU6."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))


def plain1x1(name: str, inputs: int, outputs: int) -> nn.Module:
    """Return the static 1×1 convolution that a dynamic one replaces."""
    del name
    return nn.Conv2d(inputs, outputs, 1, bias=False)


def dynamic1x1(spec: NetworkSpec) -> MakeConv:
    """Return a maker of dynamic 1×1 convolutions with the squeeze of ``spec``, or of its own sizes."""

    def make(name: str, inputs: int, outputs: int) -> nn.Module:
        rule = mobilenet_geometry(inputs, outputs, spec.fc_squeeze)
        return MobileNetDynamicConv(own_geometry(spec, name, rule), Constants.of(spec))

    return make
