"""Statistics of measurements: latencies of one model, and the ratio of two with a confidence interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dcd_deploy.benchmarks.measure import Measurement

RESAMPLES = 2000
CONFIDENCE = 0.95
SEED = 0


@dataclass(frozen=True)
class Latency:
    """Milliseconds over all counted runs."""

    median_ms: float
    p90_ms: float
    p99_ms: float
    mad_ms: float  # median absolute deviation from the median
    min_ms: float
    runs: int


@dataclass(frozen=True)
class Ratio:
    """Candidate over baseline: the median over block pairs, and the bootstrap interval of that median."""

    median: float
    low: float
    high: float
    confidence: float
    pairs: int


def latency(measurement: Measurement) -> Latency:
    """Summarise one model's runs."""
    times = np.concatenate(measurement.blocks_ms)
    median = float(np.median(times))
    p90, p99 = (float(value) for value in np.quantile(times, [0.9, 0.99]))
    return Latency(median, p90, p99, float(np.median(np.abs(times - median))), float(times.min()), len(times))


def ratio(candidate: Measurement, baseline: Measurement) -> Ratio:
    """Compare two measurements block pair by block pair; the bootstrap resamples whole pairs."""
    ours, theirs = (np.array([np.median(block) for block in m.blocks_ms]) for m in (candidate, baseline))
    pairs = ours / theirs
    draws = np.random.default_rng(SEED).integers(0, len(pairs), (RESAMPLES, len(pairs)))
    medians = np.median(pairs[draws], axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(medians, [tail, 1 - tail])
    return Ratio(float(np.median(pairs)), float(low), float(high), CONFIDENCE, len(pairs))
