"""Export: read weights → build and verify (``formats``) → file and sidecar, whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

from dcd_deploy.artifacts import Artifact
from dcd_deploy.export.ahead import exporter
from dcd_deploy.export.alongside import alongside, before, by_one_thread, threads_by_load
from dcd_deploy.export.build_config import BuildConfig, for_registry, picture_network
from dcd_deploy.export.built_model import BuiltModel
from dcd_deploy.export.describe import Source, describe_export, describe_model
from dcd_deploy.export.formats import Begun, begin_formats, build_formats, load_builders
from dcd_deploy.export.input_type import taking_input
from dcd_deploy.export.twin import build_twins, mean_twin, twin_content
from dcd_deploy.files import check_names, check_no_folder, check_writable, staging, utf8
from dcd_deploy.lowering.capture import Captured, capture, capture_expecting
from dcd_deploy.lowering.dynamic_layers import Layers, Outcomes, Proof, here
from dcd_deploy.lowering.network import Network
from dcd_deploy.models.checkpoint import Checkpoint
from dcd_deploy.models.fit import load_network
from dcd_deploy.models.sizes import check_input_size
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.progress import Progress, silent

PROOFS = "prove the dynamic layers"


@dataclass(frozen=True)
class ExportConfig:
    """Where to write, under which name, in which formats, what to say about it, and how to build it."""

    out: Path
    name: str
    build: BuildConfig
    formats: tuple[str, ...] = ("onnx",)
    labels: tuple[str, ...] = ()
    with_baseline: bool = False

    def model_path(self, format: str) -> Path:
        """The exported file."""
        return self.out / f"{self.name}.{format}"

    def baseline_path(self, format: str) -> Path:
        """Its static twin."""
        return self.out / f"{self.name}-static.{format}"

    def targets(self) -> Iterator[Path]:
        """Every file that will be written."""
        for format in self.formats:
            model = self.model_path(format)
            yield from (model, model.with_name(f"{model.name}.json"))
            if self.with_baseline:
                yield self.baseline_path(format)


@dataclass(frozen=True)
class ExportedFile:
    """One file of an export; ``built`` has the graph, the report and the counts."""

    artifact: Artifact
    built: BuiltModel
    baseline: Path | None


@dataclass(frozen=True)
class ExportResult:
    """What an export made, a file for each format."""

    files: tuple[ExportedFile, ...]
    seconds: float
    checkpoint_notes: tuple[str, ...] = ()  # what was done to its keys

    @property
    def artifact(self) -> Artifact:
        """The first file, which is the only one where one format was asked for."""
        return self.files[0].artifact

    @property
    def built(self) -> BuiltModel:
        """What the first file was written from."""
        return self.files[0].built

    @property
    def baseline(self) -> Path | None:
        """The static twin of the first file."""
        return self.files[0].baseline


def export_checkpoint(
    checkpoint: Checkpoint, spec: NetworkSpec, config: ExportConfig, progress: Progress = silent
) -> ExportResult:
    """Export the network of the registry that ``checkpoint`` holds.

    Raises:
        DcdDeployError: of the stage that refused; nothing is left behind, and nothing that was there is lost.
    """
    start = time.perf_counter()
    config = replace(config, build=for_registry(spec, config.build))
    check_input_size(*config.build.entries[0].shape[1:])
    check_targets(config)
    with progress("load weights"):
        network = picture_network(load_network(checkpoint, spec), config.build)
    captured = capture_network(network, (), progress, config.formats)
    return export_network(captured, Source.of(spec, checkpoint), config, progress, start=start)


def capture_network(
    network: Network, leaf: Sequence[str] = (), progress: Progress = silent, formats: Sequence[str] = ()
) -> Captured:
    """Capture a network; submodules at the paths of ``leaf`` are kept whole.

    While its layers are proved, what builds the ``formats`` is imported, which takes as long; where another process
    does that (``ahead``) and waits for the graph, most proofs are put off until it has it.

    Raises:
        CaptureError: its forward cannot be followed.
    """
    if formats and exporter() is not None:
        with progress("find the dynamic layers"), threads_by_load():
            return capture_expecting(network, leaf)
    with progress(f"find and {PROOFS}"), threads_by_load():
        return capture(network, leaf, partial(_proved_beside, formats) if formats else here)


def _proved_beside(formats: Sequence[str], proof: Proof, layers: Layers) -> Outcomes:
    with alongside(PROOFS, partial(proof, layers), silent) as wait:
        load_builders(formats)
        return wait()


def export_network(
    captured: Captured,
    source: Source,
    config: ExportConfig,
    progress: Progress = silent,
    *,
    start: float | None = None,
) -> ExportResult:
    """Export a captured network, whatever it is, and say that it is ``source``; the seconds count from ``start``.

    Raises:
        DcdDeployError: as ``export_checkpoint`` does.
    """
    start = time.perf_counter() if start is None else start
    check_targets(config)
    captured, begun = _begun(captured, config, progress)
    built = build_formats(captured, config.build, config.formats, progress, begun)
    twins: dict[str, BuiltModel] = {}
    if config.with_baseline:
        reference = built[config.formats[0]].reference
        twins = build_twins(mean_twin(captured, reference), config.build, config.formats, progress)
    with progress("write files"), staging(config.out) as folder:
        files = [_write(folder, config, source, captured, *item) for item in built.items()]
        for format, twin in twins.items():
            (folder / config.baseline_path(format).name).write_bytes(twin_content(source, twin))
    return ExportResult(tuple(files), time.perf_counter() - start, source.notes)


def _begun(captured: Captured, config: ExportConfig, progress: Progress) -> tuple[Captured, Begun]:
    """Lower a captured network and let it be made into its formats, then prove its layers; begin again if they fail."""
    taken = taking_input(captured, config.build)
    begun = begin_formats(taken, config.build, config.formats, progress)
    if captured.outstanding is None:
        return taken, begun
    # here, not in a fork: what comes back is to be this very graph
    with (by_one_thread if begun.sent else before)(PROOFS, captured.proved, progress) as wait:
        proved = wait()
    if proved.graph is captured.graph:
        return replace(taken, outstanding=None), begun
    return _begun(proved, config, progress)


def check_targets(config: ExportConfig) -> None:
    """Raise OutputError if a file cannot be written where it is to go, and OptionError if its name is too long."""
    check_names(config.targets())
    check_writable(config.out)
    check_no_folder(config.targets())


def _write(
    folder: Path, config: ExportConfig, source: Source, captured: Captured, format: str, built: BuiltModel
) -> ExportedFile:
    """Write one format's file and sidecar into ``folder``, and return them as they will be in their place."""
    card = describe_model(source, built, config.labels)
    content, path = built.content(card), config.model_path(format)
    facts = {
        "size_bytes": len(content),
        "sha256": sha256(content).hexdigest(),
        **describe_export(source, built, captured),
    }
    artifact = Artifact(path, format, card, facts)
    (folder / path.name).write_bytes(content)
    (folder / artifact.sidecar_path.name).write_bytes(utf8(artifact.sidecar()))
    return ExportedFile(artifact, built, config.baseline_path(format) if config.with_baseline else None)
