"""The description that goes into an exported file, and the facts that go beside it into the sidecar."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dcd_deploy import __version__
from dcd_deploy.artifacts import FLOAT32, CarriedOutput, ModelCard, Reference, stated_tolerance
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.built_model import BuiltModel
from dcd_deploy.lowering.capture import Captured
from dcd_deploy.lowering.counts import layer_macs, twin_macs
from dcd_deploy.models.checkpoint import Checkpoint
from dcd_deploy.models.spec import NetworkSpec

REFERENCE_SAMPLES = 2
MOST_CARRIED = 4096  # values of an output in each sample; of larger ones every so many-th is carried


@dataclass(frozen=True)
class Source:
    """What a file is made from: a network of the registry (``spec``) or a module of the user's, and whence its weights.

    ``arch`` is the architecture, or the class of the module; a twin made for timing has no source and no hash.
    """

    arch: str
    spec: NetworkSpec | None = None
    sha256: str = ""
    checkpoint: str = ""
    notes: tuple[str, ...] = ()  # what was done to the checkpoint's keys

    @classmethod
    def of(cls, spec: NetworkSpec, checkpoint: Checkpoint | None = None) -> Source:
        """Return what a checkpoint holds, or the twin of ``spec``."""
        if checkpoint is None:
            return cls(spec.arch, spec)
        return cls(spec.arch, spec, checkpoint.sha256, checkpoint.path.name, checkpoint.notes)

    def twin(self) -> Source:
        """Return what its static twin is, which has no source."""
        if self.spec is None:
            return Source(f"{self.arch} static")
        return Source.of(self.spec.twin())


def describe_model(source: Source, built: BuiltModel, labels: tuple[str, ...] = ()) -> ModelCard:
    """Return the description of a built model."""
    config = built.config
    return ModelCard(
        arch=source.arch,
        spec=None if source.spec is None else json.loads(json.dumps(asdict(source.spec))),  # as it is read back
        inputs=built.inputs,
        outputs=built.outputs,
        preprocessing=config.preprocessing,
        labels=labels,
        lowering=built.lowering,
        checkpoint_sha256=source.sha256,
        producer=f"dcd-deploy {__version__}",
        reference=_carried_reference(built, config),
        assumed=config.assumed,
        runtime=built.runtime,
        weights=built.weights,
        target=config.target,
        opset=built.opset,
        precision=built.precision,
    )


def describe_export(source: Source, built: BuiltModel, captured: Captured) -> dict[str, Any]:
    """Return what the sidecar records besides the description: sizes, multiply-adds, verification, versions."""
    return {
        "checkpoint": source.checkpoint,
        "checkpoint_notes": source.notes,
        **built.facts,
        "graph": {"traced": asdict(built.traced), "finished": asdict(built.finished)},
        "macs": _macs(captured, built),
        "sizes": built.sizes,
        **_calibration(built.config),
        "notes": built.notes,
        "verification": asdict(built.report),
        "versions": built.versions,
    }


def _calibration(config: BuildConfig) -> dict[str, Any]:
    """Return the manifest of the images that ranges are from; nothing of a file in float32."""
    if config.calibration is None:
        return {}
    return {"calibration": {"source": config.calibration.source, **asdict(config.calibration.manifest)}}


def _macs(captured: Captured, built: BuiltModel) -> dict[str, int]:
    return {
        "released_form": sum(layer_macs(captured.graph).values()),
        "this_file": built.finished.macs,
        "static_twin": twin_macs(captured.graph),
    }


def _carried_reference(built: BuiltModel, config: BuildConfig) -> Reference | None:
    """Return the outputs that the file carries; none where the user chose the inputs, which it does not carry."""
    if built.reference.contrast is None:
        return None
    outputs = {name: _carried(values) for name, values in built.reference.outputs.items()}
    scales = tuple(each.scale for each in config.entries)
    precision = built.precision.format
    tolerance = config.tolerance if precision == FLOAT32 else stated_tolerance(precision)
    return Reference(built.reference.contrast, outputs, tolerance, scales)


def _carried(values: np.ndarray[Any, np.dtype[np.float64]]) -> CarriedOutput:
    shape = values.shape[1:]
    step = max(1, math.ceil(math.prod(shape) / MOST_CARRIED))
    rows = values[:REFERENCE_SAMPLES].reshape(min(len(values), REFERENCE_SAMPLES), -1)[:, ::step].astype(np.float32)
    span = float(np.float32(np.ptp(values)))  # whose last bits in float64 hang on how many threads added up
    return CarriedOutput(shape, step, span, tuple(tuple(map(float, row)) for row in rows))
