"""The full check of an exported file, at any later time: against the float64 train form of its checkpoint."""

from __future__ import annotations

from pathlib import Path

from dcd_deploy.artifacts import ModelCard
from dcd_deploy.errors import VerificationError
from dcd_deploy.export.build import BuildConfig, reference_for
from dcd_deploy.export.verify import FLOAT32_TOLERANCE, VerificationReport, compare
from dcd_deploy.models.checkpoint import Checkpoint, read_checkpoint
from dcd_deploy.models.fit import fit, load_network
from dcd_deploy.progress import Progress, silent
from dcd_deploy.runtimes.model import Model


def verify_against_checkpoint(
    model: Model,
    checkpoint: Path,
    *,
    ema: bool = False,
    tolerance: float | None = None,
    samples: Path | None = None,
    progress: Progress = silent,
) -> VerificationReport:
    """Compare an opened model with the network that the checkpoint file holds.

    Raises:
        VerificationError: it computes something else; the message says so if the file was made from another checkpoint.
    """
    card = model.described()
    tolerance = tolerance or (card.reference.tolerance if card.reference else FLOAT32_TOLERANCE)
    with progress("read checkpoint"):
        loaded = read_checkpoint(checkpoint, ema=ema)
        spec = fit(loaded)
        network = load_network(loaded, spec)
    if model.session.outputs[0].shape[1] not in (None, spec.num_classes):
        raise VerificationError(
            f"the checkpoint has {spec.num_classes} classes, the model {model.session.outputs[0].shape[1]}"
        )
    config = BuildConfig(card.preprocessing, batch=card.input.shape[0], tolerance=tolerance, samples=samples)
    with progress("reference outputs in float64"):
        checked = reference_for(network, config)
    with progress("verify the model"):
        comparisons = compare("model file", model.session.run, checked.reference, tolerance, config.batch)
    try:
        return checked.report.with_comparisons(*comparisons)
    except VerificationError as error:
        raise VerificationError(f"{error}{_other_checkpoint(card, loaded)}", error.report) from error


def _other_checkpoint(card: ModelCard, checkpoint: Checkpoint) -> str:
    if card.checkpoint_sha256 == checkpoint.sha256:
        return ""
    made_from, given = card.checkpoint_sha256[:12], checkpoint.sha256[:12]
    return f"; the model was made from another checkpoint (sha256 {made_from}…, not {given}…)"
