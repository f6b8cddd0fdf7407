"""The proof that inputs exercise the dynamic layers: how far they move each head, and how much that matters.

Freezing a head of every layer to the value that the first input gives it is the fault that a careless trace makes. How
far that moves the outputs says how well the inputs would show it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from torch import Tensor, nn

from dcd_deploy.dynamic.canonical import CanonicalLayer
from dcd_deploy.export.truth import Outputs, Sensitivity

SMALLEST_SIZE = 1e-300  # a head that is all zero does not vary

Heads = Mapping[str, Tensor]
Observe = Callable[[str, Heads], Heads | None]
Run = Callable[[], Mapping[str, Outputs]]


def observed_layers(network: nn.Module) -> dict[str, CanonicalLayer]:
    """Return the dynamic layers of a captured network by their paths."""
    return {path: module for path, module in network.named_modules() if isinstance(module, CanonicalLayer)}


@contextmanager
def observing(network: nn.Module, observe: Observe) -> Iterator[None]:
    """Let ``observe`` see the values of all heads, with the layer's path; it may return others in their place."""
    layers = observed_layers(network)
    before = {path: layer.observe for path, layer in layers.items()}
    try:
        for path, layer in layers.items():
            layer.observe = lambda heads, path=path: observe(path, heads)
        yield
    finally:
        for path, layer in layers.items():
            layer.observe = before[path]


class Variation:
    """Notes how far each head's values get from their mean over the inputs, relative to their size."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, float]] = {}

    def __call__(self, path: str, heads: Heads) -> None:
        for head, values in heads.items():
            size = values.norm(dim=1).mean().clamp_min(SMALLEST_SIZE)
            moved = float((values - values.mean(0)).norm(dim=1).max() / size)
            before = self.found.setdefault(head, {}).get(path, 0.0)  # of a layer that is called twice
            self.found[head][path] = max(before, moved)


def measure_sensitivity(network: nn.Module, run: Run, outputs: Mapping[str, Outputs]) -> Sensitivity | None:
    """Measure how the inputs move the heads, and how much that matters; None where there is no dynamic layer.

    ``run`` runs ``network`` on all inputs, which gives ``outputs``.
    """
    if not observed_layers(network):
        return None
    variation = Variation()
    with observing(network, variation):
        run()
    return Sensitivity(variation.found, {head: frozen_effect(network, run, outputs, head) for head in variation.found})


def frozen_effect(network: nn.Module, run: Run, outputs: Mapping[str, Outputs], head: str) -> float:
    """Return the largest relative change of an output when ``head`` says what it says to the first input."""

    def freeze(path: str, heads: Heads) -> Heads:
        del path
        return {**heads, head: heads[head][:1].expand_as(heads[head])} if head in heads else heads

    with observing(network, freeze):
        frozen = run()
    with np.errstate(invalid="ignore", divide="ignore"):  # such outputs are refused by name in ``new_report``
        effects = [float(np.abs(frozen[name] - values).max() / np.ptp(values)) for name, values in outputs.items()]
    return max(effects)
