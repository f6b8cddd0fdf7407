"""The least that a dynamic network can take: its twin, and what it computes and reads more than that.

The multiply-adds are reckoned at the twin's own pace, the weights at that at which memory is read. No node, no pass
over a map and no change of layout is in it: what a network takes beyond it is what an implementation could still gain.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from dcd_deploy.models.deploy.form import static_macs
from dcd_deploy.models.deploy.target import Target
from dcd_deploy.models.registry import build
from dcd_deploy.models.sizes import layer_macs
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.tuning.layer_case import cases_of

CLASSIFIER = "classifier"
READS = 20


@dataclass(frozen=True)
class Floor:
    """Milliseconds of the twin, of the multiply-adds that the cheapest order of each layer adds, of its weights."""

    static_ms: float
    macs_ms: float
    weights_ms: float

    @property
    def ms(self) -> float:
        """All of it."""
        return self.static_ms + self.macs_ms + self.weights_ms

    @property
    def ratio(self) -> float:
        """All of it over the twin."""
        return self.ms / self.static_ms


def floor(spec: NetworkSpec, size: tuple[int, int], target: Target, static_ms: float, bytes_per_ms: float) -> Floor:
    """Return the floor of a dynamic network whose twin takes ``static_ms``."""
    twin = sum(layer_macs(spec.twin(), *size).values())
    more_bytes = 4 * (_parameters(spec) - _parameters(spec.twin()))
    return Floor(static_ms, static_ms * more_macs(spec, size, target) / twin, more_bytes / bytes_per_ms)


def more_macs(spec: NetworkSpec, size: tuple[int, int], target: Target) -> int:
    """Return the multiply-adds beyond the twin's, each layer in the form with the fewest."""
    found = _classifier_macs(spec, size) - _classifier_macs(spec.twin(), size)
    for case, layers in cases_of(spec, *size).items():
        costs = target.costs(case.geometry, case.size, activated=case.activated)
        least = min(cost.macs for cost in costs.values())
        found += len(layers) * (least - static_macs(case.geometry, case.size))
    return found


def streaming_pace(size_bytes: int) -> float:
    """Return the bytes a millisecond at which one thread reads a block of memory over and over, at its best."""
    block = np.ones(size_bytes // 4, np.float32)
    times = []
    for _ in range(READS):
        start = time.perf_counter()
        np.maximum.reduce(block)
        times.append(time.perf_counter() - start)
    return block.nbytes / (min(times) * 1e3)


def _classifier_macs(spec: NetworkSpec, size: tuple[int, int]) -> int:
    return sum(macs for name, macs in layer_macs(spec, *size).items() if name.startswith(CLASSIFIER))


def _parameters(spec: NetworkSpec) -> int:
    with torch.device("meta"):
        return sum(tensor.numel() for tensor in build(spec).parameters())
