"""What each lowering of each layer costs on a target, told by its cost model, with nothing exported or measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from dcd_deploy.artifacts import FLOAT16, INT8
from dcd_deploy.errors import OptionError
from dcd_deploy.lowering.capture import Captured
from dcd_deploy.lowering.counts import layer_macs
from dcd_deploy.lowering.int8_cost import WORTH
from dcd_deploy.lowering.lowering import Cost
from dcd_deploy.lowering.targets import Target
from dcd_deploy.tuning.layer_case import LayerCase, LayerGroup, groups_of

FITTED = "rates fitted to times on an x86-64 core"
COUNTED = "instructions counted on an emulated cortex-a76: "
SHARED = (
    "no times, and without the attention and its pool, which both orders have; 'kernel' is taken at up to "
    f"{WORTH:g} times the cost of 'factored', for less noise"
)
COMPUTED = "no times; W(x) and its product in float32, all else in int8"
Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class CapturedNetwork:
    """``title`` names the network; ``inputs`` are the shapes of its inputs without the batch."""

    title: str
    inputs: Shapes
    captured: Captured

    @cached_property
    def groups(self) -> tuple[LayerGroup, ...]:
        """The shapes of its dynamic convolutions."""
        return groups_of(self.captured)

    def check_dynamic(self) -> None:
        """Raise OptionError unless the network has a dynamic convolution; what was refused as one is named."""
        if self.groups:
            return
        refused = "; ".join(f"'{path}' is none: {why.reason}" for path, why in self.captured.refused.items())
        raise OptionError(
            expected="a network with dynamic layers",
            found=f"{self.title}, which has no dynamic convolution" + (f" ({refused[:300]})" if refused else ""),
        )


def subject_of(captured: Captured, title: str) -> CapturedNetwork:
    """Return a captured network as what is tuned."""
    inputs = tuple(tuple(int(side) for side in one.shape[1:]) for one in captured.network.examples)
    return CapturedNetwork(title, inputs, captured)


def sizes_text(inputs: Iterable[tuple[int, ...]]) -> str:
    """Return shapes for people: "3×224×224"."""
    return " and ".join("×".join(map(str, one)) for one in inputs)


@dataclass(frozen=True)
class LoweringForecast:
    """What one lowering counts, and how much ``extra`` that is over the static layer, in the forecast's ``unit``."""

    lowering: str
    cost: Cost
    extra: float


@dataclass(frozen=True)
class ShapeForecast:
    """One shape of layer: the layers that have it, its lowerings, and the one that the target's rule takes."""

    case: LayerCase
    layers: tuple[str, ...]
    lowerings: tuple[LoweringForecast, ...]
    taken: str


@dataclass(frozen=True)
class Forecast:
    """A network on a target in a precision, for inputs of these shapes (without the batch).

    ``extra`` sums over the calls of its layers, each in the lowering taken, in ``unit``s; ``basis`` says what that
    rests on; ``macs_as_trained`` are the whole network's multiply-adds for one input, in the order of computation of
    the training code.
    """

    target: str
    precision: str
    network: str
    inputs: Shapes
    shapes: tuple[ShapeForecast, ...]
    extra: float
    unit: str
    basis: str
    macs_as_trained: int


def forecast(subject: CapturedNetwork, target: Target) -> Forecast:
    """Return what the dynamic convolutions of a network cost on a target of one kind of machine."""
    shapes = tuple(_shape(group, target) for group in subject.groups)
    extra = sum(len(s.layers) * next(f.extra for f in s.lowerings if f.lowering == s.taken) for s in shapes)
    macs = sum(layer_macs(subject.captured.graph).values())
    names = target.name, target.precision, subject.title
    return Forecast(*names, subject.inputs, shapes, extra, target.unit, _basis(target), macs)


def _basis(target: Target) -> str:
    if target.precision == FLOAT16:
        return FITTED + "; float16 keeps the order of float32, and these are float32's times: none were fitted for it"
    if target.precision != INT8:
        return FITTED
    return COUNTED + (SHARED if target.counted_apart else COMPUTED)


def _shape(group: LayerGroup, target: Target) -> ShapeForecast:
    case = group.case
    extras = case.extras(target)
    lowerings = tuple(LoweringForecast(name, cost, extras[name]) for name, cost in case.costs(target).items())
    return ShapeForecast(case, group.layers, lowerings, case.rule(target))
