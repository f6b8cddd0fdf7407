"""A target: a backend on a runtime and a kind of machine, and which lowering a dynamic layer gets there."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dcd_deploy.dynamic.shape import MIXTURE, MapSize, OperatorShape
from dcd_deploy.lowering.lowering import ANY, KNOWN, ONE, Backend, Cost, Rates


@dataclass(frozen=True)
class Target:
    """A runtime on a kind of machine.

    ``lowerings`` names those of the backend that its rule chooses from (``serving``). With several rates, one for each
    kind of machine, the one is taken whose time, over the best one's on the same machine, is smallest where it is
    largest: good everywhere and bad nowhere.
    """

    name: str
    format: str
    backend: Backend
    lowerings: tuple[str, ...]
    rates: tuple[Rates, ...]
    narrowing_kernels_from: int = 0  # pixels; a kernel for a narrowing layer is an operator more, for less and less

    @classmethod
    def serving(
        cls, name: str, format: str, backend: Backend, *rates: Rates, narrowing_kernels_from: int = 0
    ) -> Target:
        """Return the target of that name, with all lowerings of the backend that say that they are for it."""
        served = tuple(key for key, one in backend.lowerings.items() if one.only_for is None or name in one.only_for)
        return cls(name, format, backend, served, rates, narrowing_kernels_from)

    def for_batch(self, batch: int | None) -> Target:
        """Return the target with those lowerings alone that serve for a batch size, or for a free one (None)."""
        serving = {ANY, *([] if batch is None else [KNOWN]), *([ONE] if batch == 1 else [])}
        return replace(self, lowerings=tuple(n for n in self.lowerings if self.backend.lowerings[n].batches in serving))

    def costs(self, shape: OperatorShape, size: MapSize, *, activated: bool) -> dict[str, Cost]:
        """Return what the layer costs in each lowering that serves here."""
        lowerings = {name: self.backend.lowerings[name] for name in self.lowerings}
        suiting = [name for name, one in lowerings.items() if one.suits(shape)]
        if not suiting:  # right, if not quick
            suiting = [name for name, one in lowerings.items() if one.refusal(shape) is None]
        others = [name for name in suiting if name != "kernel"]
        if others and self._too_small(shape, size):
            suiting = others
        return {name: lowerings[name].cost(shape, size, activated=activated) for name in suiting}

    def _too_small(self, shape: OperatorShape, size: MapSize) -> bool:
        if MIXTURE in shape.terms:  # whose other order convolves by each kernel, at any size
            return False
        return shape.geometry.C > shape.geometry.K and size.outputs < self.narrowing_kernels_from

    def choose(self, shape: OperatorShape, size: MapSize, *, activated: bool) -> str:
        """Return the name of the lowering that a dynamic layer gets."""
        costs = self.costs(shape, size, activated=activated)
        regrets = dict.fromkeys(costs, 0.0)
        for rates in self.rates:
            times = {name: rates.microseconds(cost) for name, cost in costs.items()}
            best = min(times.values())
            regrets = {name: max(regrets[name], time / best) for name, time in times.items()}
        return min(regrets, key=lambda name: regrets[name])
