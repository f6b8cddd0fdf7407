"""How closely files are looked at: as closely as it takes to tell a head that is frozen from one that is right.

Needs numpy alone, as ``verify`` does.
"""

from __future__ import annotations

from dcd_deploy.errors import VerificationError
from dcd_deploy.export.truth import SYMBOLS, TrainReference

SENSITIVITY_MARGIN = 10.0  # freezing a head has to move the outputs by this many tolerances
REPRODUCIBLE = 0.2  # of the tolerance, for float32 itself, which leaves room for a runtime's other order of summation
FINEST = 2e-6  # a tolerance below which that order alone decides


def telling_tolerance(reference: TrainReference, tolerance: float) -> float:
    """Return the tolerance, or a smaller one at which the inputs still tell a frozen head from a right one.

    Where they exercise a head little, an error of it has to be looked for more closely. It is the tolerance itself
    where float32 cannot be told as closely.
    """
    effects = reference.sensitivity.frozen.values() if reference.sensitivity else ()
    finer = min((effect / SENSITIVITY_MARGIN for effect in effects), default=tolerance)
    can_be_told = finer >= FINEST and reference.float32_error <= REPRODUCIBLE * finer
    return min(tolerance, finer) if can_be_told else tolerance


def notes_on_sensitivity(reference: TrainReference, tolerance: float) -> tuple[str, ...]:
    """Return what to know of how the inputs exercise the dynamic layers.

    Raises:
        VerificationError: they hardly do, in a network that was trained.
    """
    if reference.sensitivity is None:
        return ("no dynamic layer: nothing makes its weights anew for each input",)
    head, effect = min(reference.sensitivity.frozen.items(), key=lambda item: item[1])
    symbol, moves = SYMBOLS.get(head, head), f"moves the outputs by {effect:.1e} of their range"
    if effect >= (needed := SENSITIVITY_MARGIN * tolerance):
        return ()
    if (finer := telling_tolerance(reference, tolerance)) < tolerance:
        return (f"freezing {symbol} {moves} alone: files are held to {finer:.1e} of it, in place of {tolerance:.1e}",)
    if not reference.as_initialised:
        raise VerificationError(
            f"the verification inputs do not exercise {symbol}: freezing it {moves}, and {needed:.1e} is needed to "
            "tell; pass real pictures with `samples`, or train it: of a network that has seen a few batches no file "
            "can be told from a wrong one"
        )
    why = f"no norm has seen a batch, and freezing {symbol} {moves}"
    return (f"a network as initialised: {why}; this proves little of its dynamic layers, export it when trained",)
