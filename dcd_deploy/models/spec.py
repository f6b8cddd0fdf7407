"""What a network is, apart from its weights.

arch, num_classes, width_mult, fc_squeeze, dropout    how the family's own function was called
in_channels, head, channels, layers                   where the tensors say otherwise than its rules
bn_eps, gate, residual_q, strides, stem_pool          what no tensor tells; as published where nobody says otherwise
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dcd_deploy.errors import ModelFileError
from dcd_deploy.fields import whole
from dcd_deploy.network_names import DYNAMIC_SUFFIX, names_of

LARGEST = {"num_classes": 1_000_000, "width_mult": 8.0, "fc_squeeze": 1024, "dropout": 1.0}
MOST_CHANNELS = 1 << 16
LARGEST_STRIDE = 8
LARGEST_EPS = 1.0
MOST_LAYERS = 1000
LONGEST_NAME = 200

DYNAMIC, LINEAR, NO_HEAD = "dynamic", "linear", "none"
HEADS = ("", DYNAMIC, LINEAR, NO_HEAD)
BN_EPS = 1e-5
PUBLISHED_GATE = "relu6/3"
GATE_NAMES = (PUBLISHED_GATE, "relu6/6", "sigmoid")


@dataclass(frozen=True)
class LayerSizes:
    """A dynamic layer, by its name in the network, whose tensors have other sizes than the family's rule gives."""

    name: str
    L: int
    S: int
    pool: int
    biases: tuple[str, ...] = ()
    norms: tuple[str, ...] = ("bn1", "bn2")


@dataclass(frozen=True)
class NetworkSpec:
    """The arguments that build a network; ``arch`` ends in ``_dcd`` where its convolutions are dynamic.

    ``width_mult`` is MobileNetV2's alone and ``fc_squeeze`` MobileNetV2-DCD's; the ResNets ignore both. Any ``dropout``
    above zero puts the classifier at index 1 of its Sequential, as upstream does.

    ``head`` is "" for the family's own (dynamic where the convolutions are); with "none" the pooled features come out,
    ``num_classes`` of them. ``channels`` are the outputs of the convolutions in order, where no width gives them.
    ``strides`` are the stem's and each stage's, empty where usual; ``stem_pool`` is ResNet's alone.
    """

    arch: str
    num_classes: int = 1000
    width_mult: float = 1.0
    fc_squeeze: int = 16
    dropout: float = 0.0
    in_channels: int = 3
    head: str = ""
    channels: tuple[int, ...] = ()
    layers: tuple[LayerSizes, ...] = ()
    bn_eps: float = BN_EPS
    gate: str = PUBLISHED_GATE
    residual_q: bool = True
    strides: tuple[int, ...] = ()
    stem_pool: bool = True
    stem_kernel: int = 0  # 0: the usual

    @property
    def dynamic(self) -> bool:
        """Whether the convolutions are dynamic."""
        return self.arch.endswith(DYNAMIC_SUFFIX)

    @property
    def head_kind(self) -> str:
        """Return "dynamic", "linear" or "none"."""
        return self.head or (DYNAMIC if self.dynamic else LINEAR)

    def twin(self) -> NetworkSpec:
        """Return the static twin: the same channels with plain convolutions and a linear classifier."""
        head = self.head if self.head == NO_HEAD else ""
        return replace(self, arch=self.arch.removesuffix(DYNAMIC_SUFFIX), head=head, layers=())

    def describe(self) -> str:
        """Return a short name such as ``mobilenetv2_dcd ×0.5``."""
        return names_of(self.arch).describe(self.arch, self.width_mult, self.fc_squeeze) + ", own widths" * bool(
            self.channels
        )

    def file_name(self, height: int, width: int) -> str:
        """Return the usual name of a file of this network, such as ``mobilenetv2_dcd_x0.5_224``."""
        size = f"{height}" + ("" if height == width else f"x{width}")
        return f"{names_of(self.arch).file_stem(self.arch, self.width_mult)}_{size}"

    def stage_strides(self, usual: tuple[int, ...]) -> tuple[int, ...]:
        """Return the strides of the stem and of each stage.

        Raises:
            ModelFileError: the spec has too few or too many.
        """
        found = self.strides or usual
        if len(found) != len(usual):
            raise ModelFileError(expected=f"{len(usual)} strides of {self.arch}", found=len(found))
        return found

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> NetworkSpec:
        """Read a spec out of a model file's description, which anyone may have written.

        Files of older versions say the first five fields alone.

        Raises:
            ModelFileError: a field is missing, of another type, or beyond any real network.
        """
        arch, numbers = data.get("arch"), {key: data.get(key) for key in LARGEST}
        bad = [k for k, v in numbers.items() if not isinstance(v, int | float) or not 0 <= v <= LARGEST[k]]
        if not isinstance(arch, str) or bad:
            raise ModelFileError(
                expected="the network's settings in the file's description", found=f"{bad or 'no arch'} wrong"
            )
        counts = {key: int(numbers[key]) for key in ("num_classes", "fc_squeeze")}  # type: ignore[call-overload]  # numbers, checked above
        settings = {key: _setting(key, data[key]) for key in _READERS if key in data}
        return cls(
            arch, **counts, width_mult=float(numbers["width_mult"]), dropout=float(numbers["dropout"]), **settings  # type: ignore[arg-type]
        )  # fmt: skip


def _setting(key: str, value: object) -> Any:
    try:
        return _READERS[key](value)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelFileError(
            expected="the network's settings in the file's description", found=f"'{key}' wrong ({str(error)[:100]})"
        ) from error


def _wholes(values: Any, least: int, most: int) -> tuple[int, ...]:
    return tuple(whole(value, least, most) for value in _items(values))


def _items(values: Any) -> list[Any]:
    if not isinstance(values, list | tuple) or len(values) > MOST_LAYERS:
        raise ValueError("no list of that length")
    return list(values)


def _one_of(value: Any, known: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"none of {', '.join(known)}")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")
    return value


def _eps(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LARGEST_EPS:
        raise ValueError(f"not in 0..{LARGEST_EPS:g}")
    return float(value)


def _texts(values: Any) -> tuple[str, ...]:
    found = _items(values)
    if not all(isinstance(text, str) and len(text) <= LONGEST_NAME for text in found):
        raise ValueError("no list of names")
    return tuple(found)


def _layers(values: Any) -> tuple[LayerSizes, ...]:
    return tuple(
        LayerSizes(
            name=_texts([each["name"]])[0],
            L=whole(each["L"], 1, MOST_CHANNELS),
            S=whole(each["S"], 1, MOST_CHANNELS),
            pool=whole(each["pool"], 1, math.isqrt(MOST_CHANNELS)),
            biases=_texts(each["biases"]),
            norms=_texts(each["norms"]),
        )
        for each in _items(values)
    )


_READERS: dict[str, Callable[[Any], Any]] = {
    "in_channels": lambda value: whole(value, 1, MOST_CHANNELS),
    "head": lambda value: _one_of(value, HEADS),
    "channels": lambda value: _wholes(value, 1, MOST_CHANNELS),
    "layers": _layers,
    "bn_eps": _eps,
    "gate": lambda value: _one_of(value, GATE_NAMES),
    "residual_q": _flag,
    "strides": lambda value: _wholes(value, 1, LARGEST_STRIDE),
    "stem_pool": _flag,
    "stem_kernel": lambda value: whole(value, 0, LARGEST_STRIDE),
}
