"""What each form of each layer costs on a target, told by its cost model, before anything is exported or measured."""

from __future__ import annotations

from dataclasses import dataclass

from dcd_deploy.models.deploy.form import FormCost, static_cost
from dcd_deploy.models.deploy.target import Target
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.tuning.layer_case import LayerCase, cases_of


@dataclass(frozen=True)
class FormForecast:
    """What one form counts, and how many microseconds more than the static layer that is by the target's rates."""

    form: str
    cost: FormCost
    extra_us: float


@dataclass(frozen=True)
class ShapeForecast:
    """One shape of layer: the layers that have it, its forms, and the one that the target's rule takes."""

    case: LayerCase
    layers: tuple[str, ...]
    forms: tuple[FormForecast, ...]
    taken: str


@dataclass(frozen=True)
class Forecast:
    """A network on a target; ``extra_us`` sums over its layers, each in the form taken."""

    target: str
    network: str
    input: tuple[int, int]
    shapes: tuple[ShapeForecast, ...]
    extra_us: float


def forecast(spec: NetworkSpec, size: tuple[int, int], target: Target) -> Forecast:
    """Return what the dynamic convolutions of a network cost on a target of one kind of machine."""
    shapes = tuple(_shape(case, tuple(layers), target) for case, layers in cases_of(spec, *size).items())
    extra = sum(len(s.layers) * next(f.extra_us for f in s.forms if f.form == s.taken) for s in shapes)
    return Forecast(target.name, spec.describe(), size, shapes, extra)


def _shape(case: LayerCase, layers: tuple[str, ...], target: Target) -> ShapeForecast:
    (rates,) = target.rates
    static = rates.microseconds(static_cost(case.geometry, case.size))
    costs = target.costs(case.geometry, case.size, activated=case.activated)
    forms = tuple(FormForecast(name, cost, rates.microseconds(cost) - static) for name, cost in costs.items())
    taken = target.choose(case.geometry, case.size, activated=case.activated)
    return ShapeForecast(case, layers, forms, taken)
