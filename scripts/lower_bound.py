"""The least that a dynamic network can take: its twin, and what it computes and reads more than that.

The multiply-adds are reckoned at the twin's own pace, the weights at that at which memory is read. No node, no pass
over a map and no change of layout is in it: what a network takes beyond it is what an implementation could still gain.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from dcd_deploy.dynamic.shape import macs_as_trained
from dcd_deploy.lowering.capture import Captured
from dcd_deploy.lowering.counts import layer_macs, parameters, twin_macs, twin_parameters
from dcd_deploy.lowering.deploy import prepared
from dcd_deploy.lowering.passes.substitute import sites
from dcd_deploy.lowering.targets import Target

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


def floor(captured: Captured, target: Target, static_ms: float, bytes_per_ms: float) -> Floor:
    """Return the floor of a dynamic network whose twin takes ``static_ms``."""
    twin = twin_macs(captured.graph)
    more_bytes = 4 * (sum(count for _, count in parameters(captured.graph)) - twin_parameters(captured.graph))
    return Floor(static_ms, static_ms * more_macs(captured, target) / twin, more_bytes / bytes_per_ms)


def more_macs(captured: Captured, target: Target) -> int:
    """Return the multiply-adds beyond the twin's, each layer in the lowering with the fewest."""
    graph = prepared(captured)
    found = sum(layer_macs(graph).values()) - twin_macs(graph)
    for _, site in sites(graph):
        costs = target.costs(site.shape, site.size, activated=site.activated)
        found += min(cost.macs for cost in costs.values()) - macs_as_trained(site.shape, site.size.outputs)
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
