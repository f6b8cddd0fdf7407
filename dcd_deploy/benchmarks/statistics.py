"""Statistics of measurements: latencies of one model, and the ratio of two with a confidence interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.benchmarks.measure import Samples

RESAMPLES = 2000
CONFIDENCE = 0.95
SEED = 0
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Latency:
    """Milliseconds over all counted runs; ``mad_ms`` is the median absolute deviation from the median."""

    median_ms: float
    p90_ms: float
    p99_ms: float
    mad_ms: float
    min_ms: float
    runs: int

    @property
    def spread(self) -> float:
        """The deviation relative to the median, scaled so that it is the standard deviation of normal noise."""
        return 1.4826 * self.mad_ms / self.median_ms


@dataclass(frozen=True)
class Ratio:
    """Candidate over baseline: the median over all turns, and the bootstrap interval of that median."""

    median: float
    low: float
    high: float
    confidence: float
    pairs: int


def latency(samples: Samples) -> Latency:
    """Summarise one model's counted runs."""
    times = np.concatenate([np.asarray(block, np.float64) for block in samples.blocks_ms])
    median = float(np.median(times))
    p90, p99 = np.quantile(times, [0.9, 0.99])
    mad = float(np.median(np.abs(times - median)))
    return Latency(median, float(p90), float(p99), mad, float(times.min()), len(times))


def pair_ratios(candidate: Samples, baseline: Samples) -> Numbers:
    """Return the candidate's median over the baseline's, turn by turn."""
    ours, theirs = (np.array([np.median(block) for block in s.blocks_ms]) for s in (candidate, baseline))
    pairs: Numbers = ours / theirs
    return pairs


def ratio(candidate: Samples, baseline: Samples, confidence: float = CONFIDENCE) -> Ratio:
    """Compare two models that were measured in the same turns.

    The bootstrap resamples rounds, and within each the turns: what differs from opening to opening is in the interval.
    """
    pairs = pair_ratios(candidate, baseline)
    low, high = _interval(pairs, np.asarray(candidate.rounds), confidence)
    return Ratio(float(np.median(pairs)), low, high, confidence, len(pairs))


def _interval(values: Numbers, rounds: NDArray[np.int64], confidence: float) -> tuple[float, float]:
    """Return the bootstrap interval of the median of ``values`` that come in ``rounds``."""
    random = np.random.default_rng(SEED)
    groups = [values[rounds == number] for number in np.unique(rounds)]
    medians = []
    for _ in range(RESAMPLES):
        drawn = (groups[i] for i in random.integers(0, len(groups), len(groups)))
        turns = [group[random.integers(0, len(group), len(group))] for group in drawn]
        medians.append(np.median(np.concatenate(turns)))
    tail = (1 - confidence) / 2
    low, high = np.quantile(medians, [tail, 1 - tail])
    return float(low), float(high)
