"""What each lowering of each layer costs on a target, told by its cost model, with nothing exported or measured."""

from __future__ import annotations

from dataclasses import dataclass

from dcd_deploy.lowering.counts import layer_macs
from dcd_deploy.lowering.lowering import Cost
from dcd_deploy.lowering.target import Target
from dcd_deploy.tuning.layer_case import LayerCase, LayerGroup
from dcd_deploy.tuning.subject import Shapes, Subject


@dataclass(frozen=True)
class LoweringForecast:
    """What one lowering counts, and how many microseconds more than the static layer that is by the target's rates."""

    lowering: str
    cost: Cost
    extra_us: float


@dataclass(frozen=True)
class ShapeForecast:
    """One shape of layer: the layers that have it, its lowerings, and the one that the target's rule takes."""

    case: LayerCase
    layers: tuple[str, ...]
    lowerings: tuple[LoweringForecast, ...]
    taken: str


@dataclass(frozen=True)
class Forecast:
    """A network on a target, for inputs of these shapes (without the batch).

    ``extra_us`` sums over the calls of its layers, each in the lowering taken; ``macs_as_trained`` are the whole
    network's multiply-adds for one input, in the order of computation of the training code.
    """

    target: str
    network: str
    inputs: Shapes
    shapes: tuple[ShapeForecast, ...]
    extra_us: float
    macs_as_trained: int


def forecast(subject: Subject, target: Target) -> Forecast:
    """Return what the dynamic convolutions of a network cost on a target of one kind of machine."""
    shapes = tuple(_shape(group, target) for group in subject.groups)
    extra = sum(len(s.layers) * next(f.extra_us for f in s.lowerings if f.lowering == s.taken) for s in shapes)
    macs = sum(layer_macs(subject.captured.graph).values())
    return Forecast(target.name, subject.title, subject.inputs, shapes, extra, macs)


def _shape(group: LayerGroup, target: Target) -> ShapeForecast:
    (rates,) = target.rates
    case = group.case
    static = case.static_us(rates)
    costs = case.costs(target)
    lowerings = tuple(LoweringForecast(name, cost, rates.microseconds(cost) - static) for name, cost in costs.items())
    return ShapeForecast(case, group.layers, lowerings, case.rule(target))
