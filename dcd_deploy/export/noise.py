"""How much of the outputs is left when weights are stored small: the signal-to-noise ratio, and its limits.

    SNR = 10 log10( Σ y² / Σ (y' − y)² )      y the float64 network's output, y' that with the rounded weights

over all inputs and values of one output; of several outputs the worst decides. The limits, each with its argument
(docs/quantisation.md has the measurements):

    int8     20 dB   noise of a tenth of the signal. Rounding leaves a weight of a layer about 42 dB; fifty layers that
                     add up their noise, and amplify none of it, 25 dB
    float16  40 dB   noise of a hundredth. Rounding leaves a weight 74 dB, fifty layers 57 dB

A network that stays below amplifies what is rounded: it was not trained, or the inputs are far from what it was trained
on. These limits judge the choice, not the work: that a file holds exactly the rounded weights is held by the limit of
float32 (``verify``), which finds one scale that is wrong.

Needs numpy alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.artifacts import FLOAT16, INT8, ModelCard
from dcd_deploy.errors import VerificationError
from dcd_deploy.export.truth import Outputs, TrainReference

LEAST_DB = {INT8: 20.0, FLOAT16: 40.0}  # of weights that are stored so
LEAST_QUANTISED_DB, LEAST_HALF_DB = 20.0, 30.0  # of a file that computes in int8, in float16
LEAST_AT_ALL_DB = 6.0  # on any inputs: noise of a half of the signal; another network leaves none, about 0 dB
UNTRAINED = (
    "an untrained network amplifies rounding, and a trained one may on generated pictures: try real ones with "
    "`samples`, or more digits with `weights`"
)
MOST_DB = 300.0  # equal, as far as float64 can tell


@dataclass(frozen=True)
class Noise:
    """What rounding costs: of several outputs the worst, named; without ``least_db`` nothing is asked for.

    ``top1_agreement`` is of outputs (N, classes) alone; ``against`` is what it was compared with.
    """

    stage: str
    snr_db: float
    least_db: float | None
    top1_agreement: float | None
    output: str | None
    against: str
    advice: str = UNTRAINED

    @property
    def passed(self) -> bool:
        """Whether as much is left as is asked for (NaN is not)."""
        return self.least_db is None or self.snr_db >= self.least_db

    @property
    def told_db(self) -> float:
        """The ratio as a file has it; its last bits in float64 hang on how many threads added up."""
        return round(self.snr_db, 3)

    def explanation(self) -> str:
        """Say what was expected and found, and what to do."""
        which = f"output '{self.output}'" if self.output else "the outputs"
        return (
            f"{self.stage}: expected {which} with at least {self.least_db:.0f} dB of signal over noise, compared with "
            f"{self.against}, found {self.snr_db:.1f} dB; {self.advice}"
        )


def least_left(card: ModelCard) -> float | None:
    """Return the signal-to-noise ratio that a file is to have; None of one that neither stores small nor quantises."""
    return least_computed(card.precision.format) or LEAST_DB.get(card.weights.format)


def least_computed(precision: str) -> float | None:
    """Return the signal-to-noise ratio that computing in a precision is to leave; None of float32."""
    return {INT8: LEAST_QUANTISED_DB, FLOAT16: LEAST_HALF_DB}.get(precision)


def measure_noise(
    stage: str,
    found: Mapping[str, NDArray[np.floating]],
    reference: TrainReference,
    least_db: float | None,
    against: str,
    advice: str = UNTRAINED,
) -> Noise:
    """Compare outputs by name, on all inputs of the reference, with what is right."""
    decibels = {name: snr_db(found[name], wanted) for name, wanted in reference.outputs.items()}
    worst = min(decibels, key=lambda name: -math.inf if math.isnan(decibels[name]) else decibels[name])
    values, wanted = found[worst], reference.outputs[worst]
    agreement = float(np.mean(values.argmax(axis=1) == wanted.argmax(axis=1))) if wanted.ndim == 2 else None
    return Noise(stage, decibels[worst], least_db, agreement, worst if len(decibels) > 1 else None, against, advice)


def snr_db(found: NDArray[np.floating], wanted: Outputs) -> float:
    """Return the signal-to-noise ratio, in decibels, of what was found."""
    if found.shape != wanted.shape:
        raise VerificationError(expected=f"outputs of shape {wanted.shape}", found=found.shape)
    with np.errstate(all="ignore"):  # what is not finite makes NaN, which does not pass
        noise, signal = np.square(found.astype(np.float64) - wanted).sum(), np.square(wanted).sum()
        if noise == 0:  # of a map of zeros too, which has no signal
            return MOST_DB
        return float(np.minimum(MOST_DB, 10 * np.log10(signal / noise)))  # min() would lose NaN
