"""What the networks are spelled for, and which form a dynamic layer gets there.

A ``Spelling`` writes maps as (N, C, H, W), what onnxruntime takes (``channels_first``), or as (N, H, W, C), what TFLite
takes, so that its converter finds no place for a transpose (``channels_last``). A ``Target`` is a spelling on a runtime
and a kind of machine: which forms serve there, and what a multiply-add, a float and a node cost (``targets``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor, nn

from dcd_deploy.models.deploy.fold import FoldedLayer
from dcd_deploy.models.deploy.form import Form, FormCost, Rates
from dcd_deploy.models.geometry import LayerGeometry
from dcd_deploy.models.sizes import MapSize


@dataclass(frozen=True)
class Spelling:
    """Maps are (N, C, H, W) or (N, H, W, C) throughout, features likewise or (N, C)."""

    name: str
    entry: Callable[[], nn.Module]  # from images (N, 3, H, W) to a map
    layer: Callable[[nn.Module], nn.Module]  # a convolution or pooling on maps
    global_pool: Callable[[], nn.Module]  # from a map to features
    forms: Mapping[str, type[Form]]
    dynamic_classifier: Callable[[FoldedLayer], nn.Module]  # from features to logits (N, classes)
    static_classifier: Callable[[Tensor, Tensor], nn.Module]


@dataclass(frozen=True)
class Target:
    """A runtime on a kind of machine.

    ``forms`` names those of the spelling that its rule chooses from (``serving``). With several rates, one for each
    kind of machine, the form is taken whose time, over the best form's on the same machine, is smallest where it is
    largest: good everywhere and bad nowhere.
    """

    name: str
    format: str
    spelling: Spelling
    forms: tuple[str, ...]
    rates: tuple[Rates, ...]
    narrowing_kernels_from: int = 0  # pixels; a kernel for a narrowing layer is an operator more, for less and less

    @classmethod
    def serving(
        cls, name: str, format: str, spelling: Spelling, *rates: Rates, narrowing_kernels_from: int = 0
    ) -> Target:
        """Return the target of that name, with all forms of the spelling that say that they are for it."""
        forms = tuple(key for key, form in spelling.forms.items() if form.only_for is None or name in form.only_for)
        return cls(name, format, spelling, forms, rates, narrowing_kernels_from)

    def for_batch(self, batch: int | None) -> Target:
        """Return the target with those forms alone that serve for a batch size, or for a free one (None)."""
        if batch is not None:
            return self
        return replace(self, forms=tuple(name for name in self.forms if self.spelling.forms[name].free_batch))

    def costs(self, geometry: LayerGeometry, size: MapSize, *, activated: bool) -> dict[str, FormCost]:
        """Return what the layer costs in each form that serves here."""
        forms = {name: self.spelling.forms[name] for name in self.forms}
        return {
            name: form.cost(geometry, size, activated=activated)
            for name, form in forms.items()
            if form.suits(geometry) and not (name == "kernel" and self._too_small(geometry, size))
        }

    def _too_small(self, geometry: LayerGeometry, size: MapSize) -> bool:
        return geometry.C > geometry.K and size.outputs < self.narrowing_kernels_from

    def choose(self, geometry: LayerGeometry, size: MapSize, *, activated: bool) -> str:
        """Return the name of the form that a dynamic convolution gets."""
        costs = self.costs(geometry, size, activated=activated)
        regrets = dict.fromkeys(costs, 0.0)
        for rates in self.rates:
            times = {name: rates.microseconds(cost) for name, cost in costs.items()}
            best = min(times.values())
            regrets = {name: max(regrets[name], time / best) for name, time in times.items()}
        return min(regrets, key=lambda name: regrets[name])
