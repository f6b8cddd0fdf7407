"""The description that goes into an exported file, and the facts that go beside it into the sidecar."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from dcd_deploy import __version__
from dcd_deploy.artifacts import OUTPUT, ModelCard, Reference, TensorSpec
from dcd_deploy.export.build import BuildConfig, BuiltModel
from dcd_deploy.models.checkpoint import Checkpoint
from dcd_deploy.models.sizes import layer_macs
from dcd_deploy.models.spec import NetworkSpec

REFERENCE_SAMPLES = 2


def describe_model(spec: NetworkSpec, built: BuiltModel, labels: tuple[str, ...], checkpoint_sha256: str) -> ModelCard:
    """Return the description of a built model; a twin made for timing has no checkpoint, and an empty hash."""
    config = built.config
    settings = config.preprocessing
    return ModelCard(
        arch=spec.arch,
        spec=asdict(spec),
        input=built.input,
        output=TensorSpec(OUTPUT, (config.batch, spec.num_classes)),
        preprocessing=settings,
        labels=labels,
        lowering=built.lowering,
        checkpoint_sha256=checkpoint_sha256,
        producer=f"dcd-deploy {__version__}",
        reference=_carried_reference(built, config),
    )


def describe_export(spec: NetworkSpec, built: BuiltModel, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what the sidecar records besides the description: sizes, multiply-adds, verification, versions."""
    settings = built.config.preprocessing
    released, static = (layer_macs(s, settings.height, settings.width) for s in (spec, spec.twin()))
    return {
        "checkpoint": checkpoint.path.name,
        "checkpoint_notes": checkpoint.notes,
        **built.facts,
        "graph": {"traced": asdict(built.traced), "finished": asdict(built.finished)},
        "macs": {
            "released_form": sum(released.values()),
            "this_file": built.finished.macs,
            "static_twin": sum(static.values()),
        },
        "verification": asdict(built.report),
        "versions": built.versions,
    }


def _carried_reference(built: BuiltModel, config: BuildConfig) -> Reference | None:
    """Return the outputs that the file carries; none where the user chose the pictures, which it does not carry."""
    if built.reference.contrast is None:
        return None
    rows = built.reference.outputs[:REFERENCE_SAMPLES].astype(np.float32)
    logits = tuple(tuple(float(value) for value in row) for row in rows)
    return Reference(built.reference.contrast, logits, built.reference.range, config.tolerance)
