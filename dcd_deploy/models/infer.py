"""Which network a set of tensors belongs to, read off their names and shapes alone.

Width, squeeze, classes and dropout are not stored in a checkpoint; they follow from it. Where several values give the
same network (widths 0.35 and 0.36 do), the most usual one is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TypeVar

from dcd_deploy.errors import OptionError
from dcd_deploy.models.geometry import mobilenet_geometry
from dcd_deploy.models.mobilenetv2 import channel_plan
from dcd_deploy.models.registry import check_arch
from dcd_deploy.models.resnet import DEPTHS, Bottleneck
from dcd_deploy.models.spec import DYNAMIC_SUFFIX, LARGEST, NetworkSpec

T = TypeVar("T")
Shapes = Mapping[str, tuple[int, ...]]

USUAL_WIDTHS = (1.0, 0.75, 0.5, 0.35, 0.25, 0.1, 1.4, 1.3, 2.0)
WIDTHS: tuple[float, ...] = (*USUAL_WIDTHS, *(i / 100 for i in range(5, 401)))
SQUEEZES: tuple[int, ...] = (8, 16, 4, 32, *range(1, 129))
WHOLE = ("fc_squeeze", "num_classes")
SOME_DROPOUT = 0.1  # the rate is not stored, and plays no part after training


@dataclass(frozen=True)
class SpecOverrides:
    """What the user knows better than the tensors; None where the tensors decide."""

    arch: str | None = None
    width_mult: float | None = None
    fc_squeeze: int | None = None
    num_classes: int | None = None
    dropout: float | None = None

    def __post_init__(self) -> None:
        """Refuse at once what no network has.

        Raises:
            UnknownNameError: there is no such architecture.
            OptionError: a number is out of its range.
        """
        if self.arch is not None:
            check_arch(self.arch)
        for entry in fields(self)[1:]:
            _check_number(entry.name, getattr(self, entry.name), whole=entry.name in WHOLE)


def _check_number(name: str, value: object, *, whole: bool) -> None:
    if value is None or (name == "dropout" and value == 0):
        return
    kind = int if whole else int | float
    if not isinstance(value, kind) or isinstance(value, bool) or not 0 < value <= LARGEST[name]:
        smallest = "1 to" if whole else "more than 0, up to"
        raise OptionError(
            f"expected --{name.replace('_', '-')} as a {'whole ' * whole}number, {smallest} {LARGEST[name]:g}, "
            f"found {value!r}; leave it out to take what the tensors say"
        )


def guess_specs(shapes: Shapes, overrides: SpecOverrides) -> list[NetworkSpec]:
    """Return the best guess within each family that ``overrides`` allows; how well it fits is for ``fit`` to say."""
    if overrides.arch is not None:
        return [_guess(overrides.arch, shapes, overrides)]
    suffix = DYNAMIC_SUFFIX if any(key.endswith("fc_phi.weight") for key in shapes) else ""
    return [_guess(arch + suffix, shapes, overrides) for arch in ("mobilenetv2", _nearest_resnet(shapes))]


def _guess(arch: str, shapes: Shapes, overrides: SpecOverrides) -> NetworkSpec:
    index, classes = _classifier(shapes)
    mobile = arch.startswith("mobilenetv2")
    width, squeeze, dropout = overrides.width_mult, overrides.fc_squeeze, overrides.dropout
    if overrides.num_classes is not None:
        classes = overrides.num_classes
    if width is None:
        width = _width(shapes) if mobile else 1.0
    if squeeze is None:
        squeeze = _squeeze(shapes) if mobile and arch.endswith(DYNAMIC_SUFFIX) else 16
    if dropout is None:
        dropout = SOME_DROPOUT * (index > 0)
    return NetworkSpec(arch, classes, width, squeeze, dropout)


def _classifier(shapes: Shapes) -> tuple[int, int]:
    """Return the classifier's index in its Sequential and its number of classes (1000 where nothing tells)."""
    for index in (1, 0):
        for name in ("cls.weight", "weight"):
            if len(shape := shapes.get(f"classifier.{index}.{name}", ())) == 2:
                return index, shape[0]
    return 0, 1000


def _width(shapes: Shapes) -> float:
    """Return the width multiplier whose channels agree with most blocks."""
    return _best(WIDTHS, lambda width: _agreement(width, shapes))


def _agreement(width: float, shapes: Shapes) -> int:
    stem, blocks, head = channel_plan(width)
    hits = int(_channels(shapes, "features.0.0.weight")[0] == stem)
    hits += int(_channels(shapes, "conv.0.weight")[0] == head)
    for i, (inputs, outputs, _, expansion) in enumerate(blocks[1:], start=2):
        for position, wanted in ((0, (inputs * expansion, inputs)), (6, (outputs, inputs * expansion))):
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

    return _best(SQUEEZES, agreement)


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
