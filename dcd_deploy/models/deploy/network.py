"""From a trained network to its deploy form: convolution, BatchNorm and activation become one unit, layer by layer.

    train form   conv ─ BN ─ act                  deploy form   unit = act(conv')
    dynamic      DynamicConv2d ─ BN ─ act                       unit = act(form)

Works alike for a dynamic network and for its static twin.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from dcd_deploy.errors import OptionError, UnknownNameError
from dcd_deploy.models.deploy.fold import BatchNorm, fold_dynamic, fold_static
from dcd_deploy.models.deploy.places import DYNAMIC, INPUT, POOL, RESIDUAL, STATIC, Place
from dcd_deploy.models.deploy.target import Target
from dcd_deploy.models.deploy.targets import PORTABLE_ONNX
from dcd_deploy.models.dynamic import DynamicConv2d, DynamicLinear
from dcd_deploy.models.mobilenetv2 import InvertedResidual, MobileNetV2
from dcd_deploy.models.resnet import Block, ResNet
from dcd_deploy.models.sizes import MapSize, layer_sizes, module_sizes

AUTO = "auto"
Lowering = str | Mapping[str, str]  # "auto", the form of all layers, or of each layer by its name in the train form
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
    network: nn.Module, height: int, width: int, lowering: Lowering = AUTO, target: Target = PORTABLE_ONNX
) -> DeployNetwork:
    """Return the deploy form of a train-form network in eval mode, in the network's own precision.

    ``lowering`` is "auto" (the target's rule decides for each layer), the form that all layers get, or the form of each
    layer by its name.

    Raises:
        UnknownNameError: there is no such lowering.
        OptionError: the forms of each layer are those of another network.
    """
    check_lowering(lowering, target)
    assert isinstance(network, MobileNetV2 | ResNet)
    lower = _Lowering(network, layer_sizes(network.spec, height, width), lowering, target)
    features = _mobilenet(network, lower) if isinstance(network, MobileNetV2) else _resnet(network, lower)
    classifier = lower.classifier(network.classifier[-1])
    lower.check_used()
    entry = lower.placed(target.spelling.entry(), Place(INPUT, STATIC))
    pool = lower.placed(target.spelling.global_pool(), Place(POOL, STATIC))
    return DeployNetwork([entry, *features, pool], classifier, lower.chosen, lower.origins).eval()


def lower_sequence(
    layers: nn.Sequential, channels: int, height: int, width: int, lowering: Lowering, target: Target
) -> nn.Sequential:
    """Return the deploy form of a few layers in a row, conv, BatchNorm [, activation] …; (N, C, H, W) to a map.

    It takes part in no network; what single layers cost is measured on it.
    """
    sizes = module_sizes(layers, torch.zeros(1, channels, height, width, dtype=next(layers.parameters()).dtype))
    units = _Lowering(layers, sizes, lowering, target).sequence(layers)
    return nn.Sequential(target.spelling.entry(), *units).eval()


def check_lowering(lowering: Lowering, target: Target) -> None:
    """Refuse a lowering that is neither "auto" nor names forms that the target can run.

    Raises:
        UnknownNameError: its spelling has no such form.
        OptionError: the form is one that this target cannot run.
    """
    known = tuple(target.spelling.forms)
    if isinstance(lowering, str) and lowering not in (AUTO, *known):
        raise UnknownNameError("lowering", lowering, (AUTO, *known))
    named = lowering.values() if isinstance(lowering, Mapping) else [lowering]
    for form in dict.fromkeys(named):
        if form != AUTO and form not in known:
            raise UnknownNameError("form", form, known)
        if form != AUTO and not (target.spelling.forms[form].everywhere or form in target.forms):
            able = " or ".join(target.spelling.forms[form].only_for or ())
            raise OptionError(
                f"expected --target {able}, and a --batch number, for the form '{form}'; choose these, or another "
                "--lowering"
            )


class _Lowering:
    """Turns (convolution, BatchNorm, activation) into units, and remembers which form each dynamic layer got."""

    def __init__(self, network: nn.Module, sizes: Mapping[str, MapSize], lowering: Lowering, target: Target) -> None:
        self.names = {module: name for name, module in network.named_modules()}
        self.sizes = sizes
        self.lowering = lowering
        self.target = target
        self.chosen: dict[str, str] = {}
        self.origins: dict[nn.Module, Place] = {}

    def unit(self, conv: nn.Module, norm: nn.Module, activation: nn.Module | None = None) -> DeployUnit:
        """Return one unit."""
        assert isinstance(norm, BatchNorm)
        name, spelling = self.names[conv], self.target.spelling
        if not isinstance(conv, DynamicConv2d):
            assert isinstance(conv, nn.Conv2d)
            layer = spelling.layer(fold_static(conv, norm))
            return self.placed(DeployUnit(layer, activation), Place(name, STATIC))
        folded = fold_dynamic(conv, norm)
        form = spelling.forms[self.form_of(conv, activated=activation is not None)]
        self.chosen[name] = form.name
        return self.placed(DeployUnit(form(folded, self.sizes[name]), activation), Place(name, DYNAMIC))

    def classifier(self, layer: nn.Module) -> nn.Module:
        name = self.names[layer]
        if isinstance(layer, DynamicLinear):
            self.chosen[name] = "branch"
            return self.placed(self.target.spelling.dynamic_classifier(fold_dynamic(layer)), Place(name, DYNAMIC))
        made = self.target.spelling.static_classifier(layer.get_parameter("weight"), layer.get_parameter("bias"))
        return self.placed(made, Place(name, STATIC))

    def sequence(self, layers: nn.Sequential) -> list[DeployUnit]:
        """Return the units of a sequence."""
        return [self.unit(*triple) for triple in _triples(layers)]

    def block(self, units: list[DeployUnit], shortcut: nn.Module, activation: nn.Module | None = None) -> DeployBlock:
        made = DeployBlock(units, shortcut, activation)
        return self.placed(made, Place(self.origins[units[-1]].layer, RESIDUAL))

    def placed(self, module: AnyModule, place: Place) -> AnyModule:
        """Remember of which layer of the train form ``module`` is made."""
        self.origins[module] = place
        return module

    def form_of(self, conv: DynamicConv2d, *, activated: bool) -> str:
        """Return the name of the form that a layer gets."""
        if isinstance(self.lowering, Mapping):
            name = self.names[conv]
            if name not in self.lowering:
                raise OptionError(f"expected a form for layer '{name}', found {_some(self.lowering)}")
            return self.lowering[name]
        if self.lowering != AUTO:
            return self.lowering
        return self.target.choose(conv.geometry, self.sizes[self.names[conv]], activated=activated)

    def check_used(self) -> None:
        """Raise OptionError if forms were named for layers that are not there."""
        if isinstance(self.lowering, Mapping) and (unused := set(self.lowering) - set(self.chosen)):
            raise OptionError(f"expected forms for the layers of this network alone, found {_some(unused)} too")


def _some(names: Iterable[str]) -> str:
    """Return the first few of many names."""
    first = sorted(names)[:3]
    return ", ".join(f"'{name}'" for name in first) + (", …" if len(first) == 3 else "") if first else "none"


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
    pool = lower.placed(lower.target.spelling.layer(network.maxpool), Place(lower.names[network.maxpool], STATIC))
    return [stem, pool, *(_residual(block, lower) for block in network.blocks())]


def _residual(block: Block, lower: _Lowering) -> nn.Module:
    *first, last = block.layers()
    units = [*(lower.unit(conv, norm, block.relu) for conv, norm in first), lower.unit(*last)]
    shortcut = nn.Identity() if block.downsample is None else lower.sequence(block.downsample)[0]
    return lower.block(units, shortcut, block.relu)
