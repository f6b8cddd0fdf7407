"""A model checks itself where it runs: its outputs against those of the trained network, which its file carries.

This needs neither torch nor the checkpoint, so it shows on a phone or in a new version of a runtime that the file
still computes what was trained. ``dcd_deploy.export`` makes the full check, against the checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dcd_deploy.artifacts import CarriedOutput, ModelCard, Reference
from dcd_deploy.errors import ModelFileError, VerificationError
from dcd_deploy.runtimes.model import Model
from dcd_deploy.runtimes.session import Array, Input
from dcd_deploy.samples import InputSpec, generated_inputs


@dataclass(frozen=True)
class SelfCheck:
    """The largest error over the carried samples, relative to the range of the reference outputs.

    ``notes`` say what is amiss with the file beside that.
    """

    samples: int
    max_abs: float
    relative: float
    tolerance: float
    stated_tolerance: float
    notes: tuple[str, ...] = ()

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
                f"outputs' range, found {check.relative:.2e}; export it again, or check the runtime's version, "
                f"unless another tool changed the file as you meant{check.hint()}",
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
    with np.errstate(all="ignore"):  # numbers that lead nowhere show in the error
        return _checked(model, card, _reference_of(card))


def _checked(model: Model, card: ModelCard, carried: Reference) -> SelfCheck:
    inputs = carried_inputs(card)
    each = [model.run_all(*(values[i : i + 1] for values in inputs)) for i in range(carried.samples)]
    relative, max_abs = _worst(carried, each)
    return SelfCheck(carried.samples, max_abs, relative, card.limit, carried.tolerance)


def carried_inputs(card: ModelCard) -> tuple[Input, ...]:
    """Return the inputs (samples, …), as torch has them, on which a file carries reference outputs.

    Raises:
        ModelFileError: it carries none.
    """
    carried = _reference_of(card)
    return generated_inputs(_input_specs(card, carried), card.preprocessing, carried.samples, carried.contrast)


def relative_error(card: ModelCard, each: Sequence[tuple[Array, ...]]) -> float:
    """Return the largest error of the outputs of all samples, (1, …) each, relative to the range of the reference.

    Raises:
        ModelFileError: the file carries none, or of other shapes.
    """
    return _worst(_reference_of(card), each)[0]


def _reference_of(card: ModelCard) -> Reference:
    if card.reference is None:
        raise ModelFileError("the file carries no reference outputs (it was verified on `samples`); give `checkpoint`")
    return card.reference


def _worst(carried: Reference, each: Sequence[tuple[Array, ...]]) -> tuple[float, float]:
    errors = [_errors(wanted, values) for wanted, values in zip(carried.outputs.values(), zip(*each))]
    return max(errors, key=lambda error: math.inf if math.isnan(error[0]) else error[0])


def _input_specs(card: ModelCard, carried: Reference) -> list[InputSpec]:
    """Return what the verification inputs are generated from."""
    scales = carried.scales or (1.0,) * len(card.inputs)
    if len(scales) != len(card.inputs) or any(None in tensor.shape[1:] for tensor in card.inputs):
        raise ModelFileError(expected="a description that says the sizes of all inputs", found="one that does not")
    return [
        InputSpec(tensor.name, tuple(size or 1 for size in tensor.torch_shape[1:]), scale, tensor.dtype)
        for tensor, scale in zip(card.inputs, scales)
    ]


def _errors(wanted: CarriedOutput, found: tuple[Array, ...]) -> tuple[float, float]:
    """Return the largest error of one output over the samples, relative to its range and absolute."""
    shapes = {values.shape[1:] for values in found}
    if shapes != {wanted.shape} or wanted.range <= 0:
        raise ModelFileError(
            expected=f"reference outputs of shape {found[0].shape[1:]} in the file",
            found=wanted.shape,
            advice="export it again",
        )
    rows = np.stack([values.astype(np.float64).ravel()[:: wanted.step] for values in found])
    max_abs = float(np.abs(rows - np.array(wanted.values)).max())
    return max_abs / wanted.range, max_abs
