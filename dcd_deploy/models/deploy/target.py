"""How the pieces of a network are spelled for one runtime, and which form of a dynamic layer is cheap there.

Two spellings exist. ``channels_first`` keeps maps as (N, C, H, W), what onnxruntime takes; ``channels_last`` keeps
them as (N, H, W, C), what TFLite takes, so that the converter finds no place for a transpose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from dcd_deploy.models.deploy.fold import FoldedLayer
from dcd_deploy.models.geometry import LayerGeometry
from dcd_deploy.models.sizes import MapSize


class Choice(Protocol):
    """The rule of ``auto``: the name of the form that a dynamic convolution gets."""

    def __call__(self, geometry: LayerGeometry, size: MapSize, /, *, activated: bool) -> str: ...


@dataclass(frozen=True)
class Target:
    """One spelling. Maps are (N, C, H, W) or (N, H, W, C) throughout, features likewise or (N, C)."""

    name: str
    entry: Callable[[], nn.Module]  # from images (N, 3, H, W) to a map
    layer: Callable[[nn.Module], nn.Module]  # a convolution or pooling on maps
    global_pool: Callable[[], nn.Module]  # from a map to features
    forms: Mapping[str, Callable[[FoldedLayer, MapSize], nn.Module]]
    choose: Choice
    dynamic_classifier: Callable[[FoldedLayer], nn.Module]  # from features to logits (N, classes)
    static_classifier: Callable[[Tensor, Tensor], nn.Module]
