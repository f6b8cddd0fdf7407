"""What an evaluation found, computed from its exact counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dcd_deploy.benchmarks.statistics import CONFIDENCE
from dcd_deploy.errors import InputFileError
from dcd_deploy.evaluation.counts_file import Part
from dcd_deploy.evaluation.intervals import Difference, Proportion, paired_difference
from dcd_deploy.evaluation.tally import TOP, Tally
from dcd_deploy.export.noise import MOST_DB

NETWORK, MODEL = "network", "model"
FEW_IMAGES = 100


@dataclass(frozen=True)
class Evaluated:
    """One model, or the network itself.

    ``agreement`` and what follows is beside the network, on the same images: ``changed`` decisions, of which ``lost``
    were right with the network alone and ``gained`` with the model alone; None where there is no checkpoint.
    ``latency_ms`` is the mean over the images. ``calibration_images`` of the evaluated images calibrated it. ``front``:
    no other model is at least as accurate, as quick and as small.
    """

    name: str
    role: str
    size_bytes: int
    sha256: str
    runtime: str
    version: str
    top1: Proportion
    top5: Proportion | None
    agreement: Proportion | None = None
    changed: Proportion | None = None
    lost: int | None = None
    gained: int | None = None
    top1_difference: Difference | None = None
    snr_db: float | None = None
    latency_ms: float | None = None
    calibration_images: int = 0
    front: bool = False


@dataclass(frozen=True)
class EvaluationResult:
    """Models beside each other on the same images; the network comes first, where there is a checkpoint.

    ``images`` were counted; ``unreadable`` could not be read, of which ``named`` are the first, with the reasons.
    ``contents`` is the sum of the SHA-256 of all counted images, modulo 2^256. ``shard`` is
    "1/4", or None of the whole.
    """

    source: str
    images: int
    unreadable: int
    named: tuple[tuple[str, str], ...]
    classes: int
    present: int
    models: tuple[Evaluated, ...]
    shard: str | None
    machines: tuple[str, ...]
    contents: str
    producer: str
    confidence: float = CONFIDENCE

    @property
    def leaked(self) -> list[str]:
        """Say which models were calibrated on what they are evaluated on."""
        return [
            f"{each.name}: {each.calibration_images} of the {self.images} images calibrated it: its accuracy on them "
            "proves nothing"
            for each in self.models
            if each.calibration_images
        ]

    @property
    def warnings(self) -> list[str]:
        """Say what speaks against these numbers."""
        said = self.leaked
        if self.unreadable:
            names = ", ".join(f"{name} ({reason})" for name, reason in self.named[:3])
            more = ", …" if self.unreadable > len(self.named[:3]) else ""
            said.append(f"{self.unreadable} images cannot be read and are not counted: {names}{more}")
        if self.present == 1 and self.classes > 1:
            said.append(f"all images are of one class of {self.classes}: this says nothing of the others")
        if self.images < FEW_IMAGES and self.shard is None:
            said.append(f"{self.images} images are few: mind the intervals")
        return said


def result_of(part: Part, machines: Sequence[str] = (), *, whole: bool = False) -> EvaluationResult:
    """Return what the counts of a part say; ``whole``: they are of all parts together.

    Raises:
        InputFileError: no image could be read.
    """
    plan = part.plan
    if not part.tallies[0].images:
        raise InputFileError(
            expected=f"an image that can be read in '{part.plan.source}'",
            but=f"of {part.unreadable} none can: {part.named[0][0]}: {part.named[0][1]}",
        )
    models = [_evaluated(part, i) for i in range(len(plan.models))]
    return EvaluationResult(
        plan.source,
        part.tallies[0].images,
        part.unreadable,
        part.named,
        plan.classes,
        plan.present,
        tuple(replace(each, front=_on_front(each, models)) for each in models),
        None if whole or plan.shards == 1 else f"{part.shard}/{plan.shards}",
        tuple(machines) or (part.machine,),
        f"{part.hashes:064x}",
        plan.producer,
    )


def _evaluated(part: Part, number: int) -> Evaluated:
    facts, tally, network = part.plan.models[number], part.tallies[number], part.plan.reference
    n, own = tally.images, network and number == 0
    found = Evaluated(
        str(facts["name"]),
        NETWORK if own else MODEL,
        int(facts["bytes"]),
        str(facts["sha256"]),
        str(facts["runtime"]),
        str(facts["version"]),
        Proportion.of(tally.top1, n),
        Proportion.of(tally.top5, n) if part.plan.classes > TOP else None,
        calibration_images=tally.calibration,
        latency_ms=None if own else tally.nanoseconds / n / 1e6 / int(facts["batch"]),
    )
    return _paired(found, tally) if network and not own else found


def _paired(found: Evaluated, tally: Tally) -> Evaluated:
    n = tally.images
    both = tally.top1 - tally.gained
    return replace(
        found,
        agreement=Proportion.of(tally.agreed, n),
        changed=Proportion.of(n - tally.agreed, n),
        lost=tally.lost,
        gained=tally.gained,
        top1_difference=paired_difference(both, tally.lost, tally.gained, n - both - tally.lost - tally.gained),
        snr_db=_decibels(tally),
    )


def _decibels(tally: Tally) -> float | None:
    """Return the signal-to-noise ratio over all images; None of a network that answers nothing but zeros."""
    if not tally.signal:
        return None
    return min(MOST_DB, 10 * math.log10(tally.signal / tally.noise)) if tally.noise else MOST_DB


def _on_front(one: Evaluated, models: Sequence[Evaluated]) -> bool:
    return one.role == MODEL and not any(_better(other, one) for other in models if other.role == MODEL)


def _better(other: Evaluated, one: Evaluated) -> bool:
    """Whether another model is nowhere worse, and somewhere better."""
    pairs = [
        (-other.top1.count, -one.top1.count),
        (other.latency_ms, one.latency_ms),
        (other.size_bytes, one.size_bytes),
    ]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)  # type: ignore[operator]  # models have times
