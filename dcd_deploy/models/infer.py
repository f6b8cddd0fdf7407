"""Which network a set of tensors belongs to, read off their names and shapes alone.

Width, squeeze, classes and dropout are not stored in a checkpoint; they follow from it. Where several values give the
same network (widths 0.35 and 0.36 do), the most usual one is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from dcd_deploy.errors import OptionError, UnknownNameError
from dcd_deploy.models.geometry import mobilenet_geometry
from dcd_deploy.models.mobilenetv2 import STEM, ChannelPlan, channel_plan, divisible
from dcd_deploy.models.resnet import DEPTHS, SMALL_KERNEL, STEM_KERNEL, Bottleneck, convolutions_of
from dcd_deploy.models.spec import DYNAMIC, LARGEST, LINEAR, NO_HEAD, NetworkSpec
from dcd_deploy.models.untold import Untold
from dcd_deploy.network_names import DYNAMIC_SUFFIX, MOBILENETV2

T = TypeVar("T")
STATIC_ARCHS = (MOBILENETV2.name, *DEPTHS)
ARCHS = tuple(name + suffix for name in STATIC_ARCHS for suffix in (DYNAMIC_SUFFIX, ""))
Shapes = Mapping[str, tuple[int, ...]]

USUAL_WIDTHS = (1.0, 0.75, 0.5, 0.35, 0.25, 0.1, 1.4, 1.3, 2.0)
WIDTHS: tuple[float, ...] = (*USUAL_WIDTHS, *(i / 100 for i in range(5, 401)))
SQUEEZES: tuple[int, ...] = (8, 16, 4, 32, *range(1, 129))
NUMBERS = ("width_mult", "fc_squeeze", "num_classes", "dropout")
WHOLE = ("fc_squeeze", "num_classes")
SOME_DROPOUT = 0.1  # the rate is not stored, and plays no part after training
PHI = ".fc_phi."  # in the name of a tensor that every layer of DCD has, and nothing else


def check_arch(arch: str) -> None:
    """Raise UnknownNameError, with the nearest known name, unless ``arch`` is known."""
    if arch not in ARCHS:
        raise UnknownNameError("architecture", arch, ARCHS)


@dataclass(frozen=True)
class SpecOverrides:
    """What the user knows better than the tensors; None where the tensors decide. ``untold`` is what they cannot."""

    arch: str | None = None
    width_mult: float | None = None
    fc_squeeze: int | None = None
    num_classes: int | None = None
    dropout: float | None = None
    untold: Untold = field(default_factory=Untold)

    def __post_init__(self) -> None:
        """Refuse at once what no network has.

        Raises:
            UnknownNameError: there is no such architecture.
            OptionError: a number is out of its range.
        """
        if self.arch is not None:
            check_arch(self.arch)
        for name in NUMBERS:
            _check_number(name, getattr(self, name), whole=name in WHOLE)

    @property
    def says_nothing(self) -> bool:
        """Whether the tensors decide on all that they can."""
        return replace(self, untold=Untold()) == SpecOverrides()


def _check_number(name: str, value: object, *, whole: bool) -> None:
    if value is None or (name == "dropout" and value == 0):
        return
    kind = int if whole else int | float
    if not isinstance(value, kind) or isinstance(value, bool) or not 0 < value <= LARGEST[name]:
        smallest = "1 to" if whole else "more than 0, up to"
        raise OptionError(
            expected=f"`{name}` as a {'whole ' * whole}number, {smallest} {LARGEST[name]:g}",
            found=repr(value),
            advice="leave it out to take what the tensors say",
        )


def dynamic_suffix(shapes: Shapes) -> str:
    """Return ``_dcd`` where a layer before the classifier is dynamic."""
    return DYNAMIC_SUFFIX if any(PHI in key and not key.startswith("classifier.") for key in shapes) else ""


def guess_mobilenetv2(arch: str | None, shapes: Shapes, overrides: SpecOverrides) -> NetworkSpec:
    """Return the MobileNetV2 (or ``arch``) that is most like the tensors."""
    arch = arch or MOBILENETV2.name + dynamic_suffix(shapes)
    channels = _mobilenet_channels(shapes)
    width = overrides.width_mult
    own: tuple[int, ...] = ()
    if width is None:
        width = _exact_width(channels)
    if width is None:
        width, own = _nearest_width(shapes), channels
    squeeze = overrides.fc_squeeze
    if squeeze is None:
        squeeze = _squeeze(shapes) if arch.endswith(DYNAMIC_SUFFIX) else 16
    spec = NetworkSpec(arch, 1000, width, squeeze, channels=own, in_channels=_inputs(shapes, "features.0.0.weight"))
    return _with_head(spec, shapes, overrides, mobilenet_features(shapes))


def guess_resnet(arch: str | None, shapes: Shapes, overrides: SpecOverrides) -> NetworkSpec:
    """Return the ResNet (or ``arch``) that is most like the tensors."""
    arch = arch or _nearest_resnet(shapes) + dynamic_suffix(shapes)
    width = 1.0 if overrides.width_mult is None else overrides.width_mult
    squeeze = 16 if overrides.fc_squeeze is None else overrides.fc_squeeze
    stem = shapes.get("conv1.weight", ())
    kernel = stem[2] if len(stem) == 4 and stem[2] != STEM_KERNEL else 0
    spec = NetworkSpec(arch, 1000, width, squeeze, in_channels=_inputs(shapes, "conv1.weight"), stem_kernel=kernel)
    spec = replace(spec, channels=_resnet_channels(spec, shapes), stem_pool=kernel != SMALL_KERNEL)
    return _with_head(spec, shapes, overrides, resnet_features(shapes))


def mobilenet_features(shapes: Shapes) -> int | None:
    """Return how many features the classifier of a MobileNetV2 gets."""
    return _outputs(shapes, "conv.0.weight")


def resnet_features(shapes: Shapes) -> int | None:
    """Return how many features the classifier of a ResNet gets."""
    last = "bn3" if any(".conv3." in key for key in shapes) else "bn2"
    found = [_outputs(shapes, key) for key in shapes if key.startswith("layer4.") and key.endswith(f".{last}.weight")]
    return found[-1] if found else None


def _with_head(spec: NetworkSpec, shapes: Shapes, overrides: SpecOverrides, features: int | None) -> NetworkSpec:
    """Return the spec with the kind of head that the tensors have, its outputs and whether dropout comes before it."""
    index, kind, classes = _classifier(shapes)
    if kind == NO_HEAD and overrides.num_classes is None and features is not None:
        return replace(spec, head=NO_HEAD, num_classes=features)
    kind = spec.head_kind if kind == NO_HEAD else kind
    if overrides.num_classes is not None:
        classes = overrides.num_classes
    dropout = SOME_DROPOUT * (index > 0) if overrides.dropout is None else overrides.dropout
    return replace(spec, num_classes=classes, dropout=dropout, head="" if kind == spec.head_kind else kind)


def _classifier(shapes: Shapes) -> tuple[int, str, int]:
    """Return the classifier's index in its Sequential, its kind and its classes (1000 where nothing tells)."""
    for index in (1, 0):
        for name, kind in (("cls.weight", DYNAMIC), ("weight", LINEAR)):
            if len(shape := shapes.get(f"classifier.{index}.{name}", ())) == 2 and shape[0]:
                return index, kind, shape[0]
    return 0, NO_HEAD, 1000


def _outputs(shapes: Shapes, *keys: str) -> int | None:
    """Return the first size of the first of these tensors that there is."""
    return next((shapes[key][0] for key in keys if shapes.get(key)), None)


def _inputs(shapes: Shapes, stem: str) -> int:
    shape = shapes.get(stem, ())
    return shape[1] if len(shape) == 4 and shape[1] else 3


def _mobilenet_channels(shapes: Shapes) -> tuple[int, ...]:
    """Return the outputs of all convolutions, as ``ChannelPlan.channels`` has them; none where one is missing."""
    found = [_outputs(shapes, "features.0.0.weight"), _outputs(shapes, "features.0.0.weight")]
    found.append(_outputs(shapes, "features.1.conv.3.weight"))
    for i in range(2, len(channel_plan(1.0).blocks) + 1):
        keys = ([f"features.{i}.conv.{place}{part}.weight" for part in (".conv", "")] for place in (0, 6))
        found += [_outputs(shapes, *pair) for pair in keys]
    found.append(mobilenet_features(shapes))
    return () if None in found or 0 in found else tuple(number for number in found if number)


def _exact_width(channels: tuple[int, ...]) -> float | None:
    """Return the most usual width that has exactly these channels."""
    stem = channels[0] if channels else None
    likely = (width for width in WIDTHS if divisible(STEM * width, 4 if width == 0.1 else 8) == stem)
    return next((width for width in likely if channel_plan(width).channels == channels), None)


def _nearest_width(shapes: Shapes) -> float:
    """Return the width multiplier whose channels agree with most blocks."""
    return _best(WIDTHS, lambda width: _agreement(channel_plan(width), shapes))


def _agreement(plan: ChannelPlan, shapes: Shapes) -> int:
    hits = int(_channels(shapes, "features.0.0.weight")[0] == plan.stem)
    hits += int(_channels(shapes, "conv.0.weight")[0] == plan.head)
    for i, block in enumerate(plan.blocks[1:], start=2):
        for position, wanted in ((0, (block.hidden, block.inputs)), (6, (block.outputs, block.hidden))):
            found = (f"features.{i}.conv.{position}{part}.weight" for part in (".conv", ""))
            hits += int(any(_channels(shapes, key) == wanted for key in found))
    return hits


def _channels(shapes: Shapes, key: str) -> tuple[int, ...]:
    return shapes.get(key, (0, 0))[:2] or (0, 0)


def _squeeze(shapes: Shapes) -> int:
    """Return the fc_squeeze that gives most layers their S."""
    seen: list[tuple[int, int, int]] = []
    for key, shape in shapes.items():
        layer = key.removesuffix(".fc.0.weight")
        kernel = shapes.get(f"{layer}.conv.weight", ())
        if layer != key and len(kernel) == 4 and shape:
            seen.append((kernel[1], kernel[0], shape[0]))

    def agreement(squeeze: int) -> int:
        return sum(1 for c, k, s in seen if s == mobilenet_geometry(c, k, squeeze).S)

    return next((squeeze for squeeze in SQUEEZES if agreement(squeeze) == len(seen)), None) or _best(
        SQUEEZES, agreement
    )


def _best(choices: Iterable[T], score: Callable[[T], int]) -> T:
    return max(choices, key=score)


def _nearest_resnet(shapes: Shapes) -> str:
    """Return the ResNet whose kind of block and number of blocks are nearest."""
    bottleneck = any(".conv3." in key for key in shapes)
    counts = [len({key.split(".")[1] for key in shapes if key.startswith(f"layer{i}.")}) for i in range(1, 5)]

    def distance(arch: str) -> tuple[bool, int]:
        block, depths = DEPTHS[arch]
        other_block = (block is Bottleneck) != bottleneck
        return other_block, sum(abs(a - b) for a, b in zip(depths, counts, strict=True))

    return min(DEPTHS, key=distance)


def _resnet_channels(spec: NetworkSpec, shapes: Shapes) -> tuple[int, ...]:
    """Return the outputs of all convolutions; none where they are the usual ones, or one is missing."""
    stem, stages = convolutions_of(spec)
    usual, found = [stem], [_outputs(shapes, "bn1.weight")]
    for i, blocks in enumerate(stages, start=1):
        for j, outputs in enumerate(blocks):
            usual += outputs
            found += [_outputs(shapes, f"layer{i}.{j}.bn{n}.weight") for n in range(1, len(outputs) + 1)]
    return () if None in found or 0 in found or found == usual else tuple(number for number in found if number)
