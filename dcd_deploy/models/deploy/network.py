"""From a trained network to its deploy form: convolution, BatchNorm and activation become one unit, layer by layer.

    train form   conv ─ BN ─ act                  deploy form   unit = act(conv')
    dynamic      DynamicConv2d ─ BN ─ act                       unit = act(form)

Works alike for a dynamic network and for its static twin.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TypeVar

from torch import Tensor, nn

from dcd_deploy.errors import UnknownNameError
from dcd_deploy.models.deploy.channels_first import CHANNELS_FIRST
from dcd_deploy.models.deploy.fold import BatchNorm, fold_dynamic, fold_static
from dcd_deploy.models.deploy.places import DYNAMIC, INPUT, POOL, RESIDUAL, STATIC, Place
from dcd_deploy.models.deploy.target import Target
from dcd_deploy.models.dynamic import DynamicConv2d, DynamicLinear
from dcd_deploy.models.mobilenetv2 import InvertedResidual, MobileNetV2
from dcd_deploy.models.resnet import Block, ResNet
from dcd_deploy.models.sizes import MapSize, layer_sizes

LOWERINGS = ("auto", *CHANNELS_FIRST.forms)
AnyModule = TypeVar("AnyModule", bound=nn.Module)


def own(activation: nn.Module | None) -> nn.Module | None:
    """Return a copy: an activation that several units share has one place in a trace, whichever unit calls it."""
    return copy.deepcopy(activation)


class DeployUnit(nn.Module):
    """A convolution, static or dynamic, with its activation."""

    def __init__(self, conv: nn.Module, activation: nn.Module | None) -> None:
        super().__init__()
        self.conv = conv
        self.activation = own(activation)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y if self.activation is None else self.activation(y)


class DeployBlock(nn.Module):
    """Units in a row, plus the block's input (as it is, or through ``shortcut``), then the activation."""

    def __init__(self, units: Iterable[DeployUnit], shortcut: nn.Module, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.body = nn.Sequential(*units)
        self.shortcut = shortcut
        self.activation = own(activation)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x) + self.shortcut(x)
        return y if self.activation is None else self.activation(y)


class DeployNetwork(nn.Module):
    """A whole network without BatchNorm; (N, 3, H, W) to (N, classes), for the one H×W it was made for.

    ``lowering`` says which form each dynamic layer got, by the layer's name in the train form; ``places`` what each
    unit, block and layer of this form is in the train form, by its path here.
    """

    def __init__(
        self,
        features: Iterable[nn.Module],
        classifier: nn.Module,
        lowering: dict[str, str],
        origins: dict[nn.Module, Place],
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(*features)
        self.classifier = classifier
        self.lowering = lowering
        self.places = {path: origins[module] for path, module in self.named_modules() if module in origins}

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(x))
        return logits


def to_deploy(
    network: nn.Module, height: int, width: int, lowering: str = "auto", target: Target = CHANNELS_FIRST
) -> DeployNetwork:
    """Return the deploy form of a train-form network in eval mode, in the network's own precision.

    ``lowering`` is "auto" (the target's rule decides for each layer) or the form that all layers get.

    Raises:
        UnknownNameError: there is no such lowering.
    """
    check_lowering(lowering)
    assert isinstance(network, MobileNetV2 | ResNet)
    lower = _Lowering(network, height, width, lowering, target)
    features = _mobilenet(network, lower) if isinstance(network, MobileNetV2) else _resnet(network, lower)
    classifier = lower.classifier(network.classifier[-1])
    entry = lower.placed(target.entry(), Place(INPUT, STATIC))
    pool = lower.placed(target.global_pool(), Place(POOL, STATIC))
    return DeployNetwork([entry, *features, pool], classifier, lower.chosen, lower.origins).eval()


def check_lowering(lowering: str) -> None:
    """Raise UnknownNameError unless ``lowering`` is one of ``LOWERINGS``."""
    if lowering not in LOWERINGS:
        raise UnknownNameError("lowering", lowering, LOWERINGS)


class _Lowering:
    """Turns (convolution, BatchNorm, activation) into units, and remembers which form each dynamic layer got."""

    def __init__(self, network: MobileNetV2 | ResNet, height: int, width: int, lowering: str, target: Target) -> None:
        self.names = {module: name for name, module in network.named_modules()}
        self.sizes = layer_sizes(network.spec, height, width)
        self.lowering = lowering
        self.target = target
        self.chosen: dict[str, str] = {}
        self.origins: dict[nn.Module, Place] = {}

    def unit(self, conv: nn.Module, norm: nn.Module, activation: nn.Module | None = None) -> DeployUnit:
        assert isinstance(norm, BatchNorm)
        name = self.names[conv]
        if not isinstance(conv, DynamicConv2d):
            assert isinstance(conv, nn.Conv2d)
            return self.placed(DeployUnit(self.target.layer(fold_static(conv, norm)), activation), Place(name, STATIC))
        form = self._choose(conv, self.sizes[name], activated=activation is not None)
        self.chosen[name] = form
        unit = DeployUnit(self.target.forms[form](fold_dynamic(conv, norm), self.sizes[name]), activation)
        return self.placed(unit, Place(name, DYNAMIC))

    def classifier(self, layer: nn.Module) -> nn.Module:
        name = self.names[layer]
        if isinstance(layer, DynamicLinear):
            self.chosen[name] = "branch"
            return self.placed(self.target.dynamic_classifier(fold_dynamic(layer)), Place(name, DYNAMIC))
        made = self.target.static_classifier(layer.get_parameter("weight"), layer.get_parameter("bias"))
        return self.placed(made, Place(name, STATIC))

    def sequence(self, layers: nn.Sequential) -> list[DeployUnit]:
        return [self.unit(*triple) for triple in _triples(layers)]

    def block(self, units: list[DeployUnit], shortcut: nn.Module, activation: nn.Module | None = None) -> DeployBlock:
        made = DeployBlock(units, shortcut, activation)
        return self.placed(made, Place(self.origins[units[-1]].layer, RESIDUAL))

    def placed(self, module: AnyModule, place: Place) -> AnyModule:
        """Remember of which layer of the train form ``module`` is made."""
        self.origins[module] = place
        return module

    def _choose(self, conv: DynamicConv2d, size: MapSize, *, activated: bool) -> str:
        if self.lowering != "auto":
            return self.lowering
        return self.target.choose(conv.geometry, size, activated=activated)


def _triples(layers: nn.Sequential) -> list[tuple[nn.Module, nn.Module, nn.Module | None]]:
    """Group a Sequential of conv, BatchNorm [, activation], … into (conv, BatchNorm, activation or None)."""
    modules = list(layers)
    triples: list[tuple[nn.Module, nn.Module, nn.Module | None]] = []
    for conv, norm, after in zip(modules, modules[1:], [*modules[2:], None], strict=False):
        if isinstance(norm, BatchNorm):
            triples.append((conv, norm, after if isinstance(after, nn.ReLU | nn.ReLU6) else None))
    return triples


def _mobilenet(network: MobileNetV2, lower: _Lowering) -> list[nn.Module]:
    stem, *blocks = network.features
    assert isinstance(stem, nn.Sequential)
    return [*lower.sequence(stem), *(_inverted(block, lower) for block in blocks), *lower.sequence(network.conv)]


def _inverted(block: nn.Module, lower: _Lowering) -> nn.Module:
    assert isinstance(block, InvertedResidual)
    units = lower.sequence(block.conv)
    return lower.block(units, nn.Identity()) if block.residual else nn.Sequential(*units)


def _resnet(network: ResNet, lower: _Lowering) -> list[nn.Module]:
    stem = lower.unit(network.conv1, network.bn1, network.relu)
    pool = lower.placed(lower.target.layer(network.maxpool), Place(lower.names[network.maxpool], STATIC))
    return [stem, pool, *(_residual(block, lower) for block in network.blocks())]


def _residual(block: Block, lower: _Lowering) -> nn.Module:
    *first, last = block.layers()
    units = [*(lower.unit(conv, norm, block.relu) for conv, norm in first), lower.unit(*last)]
    shortcut = nn.Identity() if block.downsample is None else lower.sequence(block.downsample)[0]
    return lower.block(units, shortcut, block.relu)
