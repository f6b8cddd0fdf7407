"""A model checks itself where it runs: its outputs against those of the trained network, which its file carries.

This needs neither torch nor the checkpoint, so it shows on a phone or in a new version of a runtime that the file
still computes what was trained. ``dcd_deploy.export`` makes the full check, against the checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dcd_deploy.errors import ModelFileError, VerificationError
from dcd_deploy.runtimes.model import Model
from dcd_deploy.samples import verification_inputs


@dataclass(frozen=True)
class SelfCheck:
    """The largest error over the carried samples, relative to the range of the reference outputs."""

    samples: int
    max_abs: float
    relative: float
    tolerance: float
    stated_tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance (NaN is not)."""
        return self.relative <= self.tolerance

    def checked(self, tolerance: float | None = None) -> SelfCheck:
        """Return this check, at another tolerance if given.

        Raises:
            VerificationError: it did not pass; it carries the check.
        """
        check = self if tolerance is None else replace(self, tolerance=tolerance)
        if not check.passed:
            raise VerificationError(
                f"the model does not compute what was trained: expected an error within {check.tolerance:.1e} of the "
                f"outputs' range, found {check.relative:.2e}; export it again, or check the runtime's version"
                f"{check.hint()}",
                check,
            )
        return check

    def hint(self) -> str:
        """Say that the file asks for a laxer check, where it does."""
        if self.stated_tolerance <= self.tolerance:
            return ""
        return f" (the file itself states a tolerance of {self.stated_tolerance:.1e}: give it, if you mean it)"


def self_check(model: Model) -> SelfCheck:
    """Run ``model`` on the samples whose reference outputs its file carries.

    The tolerance is the file's own, but never more than ``FLOAT32_TOLERANCE``: a file cannot vouch for itself.

    Raises:
        ModelFileError: it carries none.
    """
    card = model.described()
    if card.reference is None:
        raise ModelFileError("the file carries no reference outputs (it was verified on --samples); give --checkpoint")
    wanted = np.array(card.reference.logits)
    images = verification_inputs(card.preprocessing, len(wanted), card.reference.contrast)
    found = np.concatenate([model.run(image[None]) for image in images]).astype(np.float64)
    if found.shape != wanted.shape or card.reference.range <= 0:
        raise ModelFileError(
            f"expected reference outputs of shape {found.shape} in the file, found {wanted.shape}; export it again"
        )
    max_abs = float(np.abs(found - wanted).max())
    relative = max_abs / card.reference.range
    return SelfCheck(len(wanted), max_abs, relative, card.reference.limit, card.reference.tolerance)
