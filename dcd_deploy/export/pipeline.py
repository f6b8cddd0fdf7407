"""Export: read weights → build and verify (``build``) → file and sidecar, whole or not at all."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from dcd_deploy.artifacts import Artifact
from dcd_deploy.export.build import BuildConfig, BuiltModel, build_onnx
from dcd_deploy.export.describe import describe_export, describe_model, write_model
from dcd_deploy.export.twin import build_twin, write_twin
from dcd_deploy.files import check_writable, staging
from dcd_deploy.models.checkpoint import Checkpoint
from dcd_deploy.models.fit import load_network
from dcd_deploy.models.sizes import check_input_size
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.progress import Progress, silent


@dataclass(frozen=True)
class ExportConfig:
    """Where to write, under which name, what to say about it, and how to build it."""

    out: Path
    name: str
    build: BuildConfig
    labels: tuple[str, ...] = ()
    with_baseline: bool = False

    @property
    def model_path(self) -> Path:
        """The exported file."""
        return self.out / f"{self.name}.onnx"

    @property
    def baseline_path(self) -> Path:
        """Its static twin."""
        return self.out / f"{self.name}-static.onnx"


@dataclass(frozen=True)
class ExportResult:
    """What an export made; ``built`` has the graph, the report and the counts."""

    artifact: Artifact
    built: BuiltModel
    baseline: Path | None
    seconds: float


def export_checkpoint(
    checkpoint: Checkpoint, spec: NetworkSpec, config: ExportConfig, progress: Progress = silent
) -> ExportResult:
    """Export the network that ``checkpoint`` holds.

    Raises:
        DcdDeployError: of the stage that refused; nothing is left behind, and nothing that was there is lost.
    """
    start = time.perf_counter()
    check_input_size(config.build.preprocessing.height, config.build.preprocessing.width)
    check_writable(config.out)
    with progress("load weights"):
        network = load_network(checkpoint, spec)
    built = build_onnx(network, config.build, progress)
    twin = build_twin(spec, config.build, progress) if config.with_baseline else None
    card = describe_model(spec, built, config.labels, checkpoint.sha256)
    facts = describe_export(spec, built, checkpoint)
    with progress("write files"), staging(config.out) as folder:
        size = write_model(folder / config.model_path.name, built, card)
        artifact = Artifact(config.model_path, "onnx", card, {"size_bytes": size, **facts})
        (folder / artifact.sidecar_path.name).write_text(artifact.sidecar(), encoding="utf-8")
        if twin is not None:
            write_twin(folder / config.baseline_path.name, spec, twin)
    baseline = config.baseline_path if twin is not None else None
    return ExportResult(artifact, built, baseline, time.perf_counter() - start)
