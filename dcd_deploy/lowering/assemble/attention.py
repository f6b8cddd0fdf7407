"""In which order, and under which names, a lowering computes the stages and heads of an attention."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dcd_deploy.dynamic.attention import Dense, Gated, Stage
from dcd_deploy.dynamic.operator import FILTERS, INPUTS, KERNELS, PHI, SCALE, TAPS

HEADS = (PHI, SCALE, KERNELS, FILTERS, INPUTS, TAPS)


def stage_names(stages: Sequence[Stage]) -> Iterator[tuple[str, Stage]]:
    """Give each stage with its name: squeeze, gate, and their numbers from the second of a kind on."""
    counts = {"squeeze": 0, "gate": 0}
    for stage in stages:
        kind = "gate" if isinstance(stage, Gated) else "squeeze"
        counts[kind] += 1
        yield kind if counts[kind] == 1 else f"{kind}{counts[kind]}", stage


def in_order(heads: Mapping[str, Dense | None]) -> list[tuple[str, Dense | None]]:
    """Return the heads in the order in which they are computed, whatever the order that the adapter found them in."""
    return sorted(heads.items(), key=lambda head: HEADS.index(head[0]))
