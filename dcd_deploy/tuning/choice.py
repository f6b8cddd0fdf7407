"""Which lowering a measurement allows to choose: another than the rule's where the interval says that it is quicker.

Of the lowerings whose interval over the rule's lies below 1, by a margin, it is the one with the smallest ratio. Where
there is none the rule's stays, "undecided" where the intervals are so wide that they could hide a gain worth having.
Many lowerings of many shapes are compared, so that by chance alone some would look quicker: the intervals hold for all
lowerings of a shape at once (Bonferroni), and a gain within the margin, which is what opening a model moves its time
by, is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dcd_deploy.benchmarks.statistics import CONFIDENCE, Ratio
from dcd_deploy.tuning.layer_times import LayerTimes

MARGIN = 0.02  # of the layer's time
NOISY = 0.10  # of an interval's width: what could hide a gain worth having
RULE, QUICKER, UNDECIDED, UNMEASURED = REASONS = ("rule", "quicker", "undecided", "unmeasured")


@dataclass(frozen=True)
class Choice:
    """The lowering that one shape of layer gets.

    ``reason`` is RULE: none is surely quicker than the rule's; QUICKER: this one is; UNDECIDED: the machine was too
    noisy to tell, and the rule's stands; UNMEASURED: time was up, and the rule's stands. ``ratios`` are the lowerings'
    times over that of ``rule``.
    """

    lowering: str
    rule: str
    reason: str
    ratios: Mapping[str, Ratio]

    @property
    def gain(self) -> float:
        """The share of the layer's time that the choice saves over the rule's lowering."""
        return 1.0 - self.ratios[self.lowering].median if self.lowering != self.rule else 0.0


def choose(times: LayerTimes, rule: str) -> Choice:
    """Return the lowering to take, where the target's rule would take ``rule``."""
    others = [lowering for lowering in times.lowerings if lowering != rule]
    confidence = 1.0 - (1.0 - CONFIDENCE) / max(len(others), 1)
    ratios = {lowering: times.over(lowering, rule, confidence) for lowering in others}
    surely = [lowering for lowering, found in ratios.items() if found.high < 1.0 - MARGIN]
    if surely:
        return Choice(min(surely, key=lambda lowering: ratios[lowering].median), rule, QUICKER, ratios)
    unsure = any(found.low < 1.0 - NOISY and found.high - found.low > NOISY for found in ratios.values())
    return Choice(rule, rule, UNDECIDED if unsure else RULE, ratios)


def unmeasured(rule: str) -> Choice:
    """Return the rule's lowering, for want of a measurement."""
    return Choice(rule, rule, UNMEASURED, {})


def decided(choice: Choice) -> bool:
    """Whether the measurement could tell, so that it need not be repeated."""
    return choice.reason != UNDECIDED
