"""The check of an exported file against what the user's own network answered: the runtime and numpy are enough."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dcd_deploy.artifacts import INT8, ModelCard
from dcd_deploy.errors import ModelFileError
from dcd_deploy.export.noise import least_left, measure_noise
from dcd_deploy.export.recorded import read_recorded
from dcd_deploy.export.verify import RECORDED, VerificationReport, compare
from dcd_deploy.progress import Progress, silent
from dcd_deploy.runtimes.model import Model
from dcd_deploy.runtimes.selfcheck import self_check


def verify_against_recorded(
    model: Model,
    recorded: Path,
    *,
    tolerance: float | None = None,
    stage: str = "model file",
    progress: Progress = silent,
) -> VerificationReport:
    """Compare an opened model with the answers in an .npz file (``dcd_deploy.record_reference``).

    A file whose weights are stored small is judged by its signal-to-noise ratio, unless a ``tolerance`` is given, and
    by the outputs that it carries: these tell rounding from a fault.

    Raises:
        InputFileError: it is no such file, or is of another model.
        VerificationError: the model computes something else; the message says what was assumed when it was made.
    """
    card = model.described()
    pairs = read_recorded(recorded, described_inputs(card), [output.name for output in card.outputs])
    least_db = least_left(card) if tolerance is None else None
    ranges = {name: float(np.ptp(values)) for name, values in pairs.outputs.items()}
    source = f"recorded answers of {recorded.name}"
    report = VerificationReport(source, len(pairs.images), ranges, None, None, assumed=card.assumed)
    with progress("verify the model"):
        if least_db is None:
            limit = limit_of(card, tolerance)
            found = compare(stage, model.session.run_all, pairs, limit, card.input.shape[0], RECORDED)
            return report.with_comparisons(*found)
        if card.reference is not None:
            self_check(model).checked()
        outputs = dict(zip(pairs.names, model.run_all(*pairs.inputs), strict=True))
    kind = "in int8" if card.precision.format == INT8 else f"weights {card.weights.format}"
    stage = f"{stage}, {kind}"
    return report.with_noise(measure_noise(stage, outputs, pairs, least_db, RECORDED))


def described_inputs(card: ModelCard) -> list[tuple[str, tuple[int, ...]]]:
    """Return the name of each input, and the shape of one sample as torch has it.

    Raises:
        ModelFileError: the file leaves a size free.
    """
    inputs = []
    for tensor in card.inputs:
        sizes = tuple(size for size in tensor.torch_shape[1:] if size is not None)
        if len(sizes) + 1 != len(tensor.shape):
            raise ModelFileError(expected="inputs whose sizes are fixed", found=f"'{tensor.name}' of {tensor.shape}")
        inputs.append((tensor.name, sizes))
    return inputs


def limit_of(card: ModelCard, tolerance: float | None) -> float:
    """Return the tolerance of a check: the file's own without one, but never more than is stated for its precision."""
    return card.limit if tolerance is None else tolerance
