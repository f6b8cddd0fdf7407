"""What a checkpoint or a model file holds."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Unpack, cast

from dcd_deploy.commands.network import (
    USUAL_SIZE,
    check_options,
    overrides_of,
    read_weights,
    trained_network,
    untold_size,
)
from dcd_deploy.commands.network_options import NetworkOptions
from dcd_deploy.commands.options import Argument, Option, StrPath
from dcd_deploy.commands.values import parse_size
from dcd_deploy.files import existing_file, suffix_of
from dcd_deploy.optional import require
from dcd_deploy.progress import Progress, silent

if TYPE_CHECKING:
    from dcd_deploy.export.accelerators import MobileSummary
    from dcd_deploy.export.executorch.graph import PteFileSummary
    from dcd_deploy.export.onnx.summary import OnnxFileSummary
    from dcd_deploy.export.tflite.summary import TfliteFileSummary
    from dcd_deploy.models.inspection import CheckpointSummary

# kind of model file → what reads it
SUMMARIES = {
    ".onnx": "dcd_deploy.export.onnx.summary:summarise_onnx",
    ".ort": "dcd_deploy.export.onnx.summary:summarise_ort",
    ".tflite": "dcd_deploy.export.tflite.summary:summarise_tflite",
    ".pte": "dcd_deploy.export.executorch.graph:summarise_pte",
}
MOBILE = "dcd_deploy.export.accelerators:summarise_mobile"


def inspect(
    file: Annotated[StrPath, Argument("Checkpoint or model file.")],
    *,
    mobile: Annotated[bool, Option("Say what NNAPI, CoreML, XNNPACK and GPU delegates take of a model file.")] = False,
    progress: Progress = silent,
    **network: Unpack[NetworkOptions],
) -> CheckpointSummary | OnnxFileSummary | TfliteFileSummary | PteFileSummary | MobileSummary:
    """Say what a checkpoint or a model file holds.

    ``network`` says which network it is (``commands.network``). ``mobile`` says what the accelerators of phones take of
    a model file instead, by the rules that their tools publish.

    Raises:
        CheckpointMismatchError: a checkpoint of no known network; the error carries the exact lists of keys.
    """
    path = Path(file)
    summarise = MOBILE if mobile else SUMMARIES.get(suffix_of(path))
    if summarise is not None:
        return cast("MobileSummary", _isolated(summarise, path))
    require("torch")
    if network.get("network") is not None or network.get("leaf"):
        return _inspect_captured(path, progress, network)
    from dcd_deploy.models.inspection import inspect_checkpoint

    check_options(network)
    size = parse_size(network.get("input_size", USUAL_SIZE))
    with progress("read checkpoint"):
        weights = read_weights(path, network)
    with progress("recognise and count the network"):
        found = inspect_checkpoint(weights, *size, overrides_of(network))
    return replace(found, assumed=(*found.assumed, *untold_size(network)))


def _isolated(summarise: str, path: Path) -> Any:
    """Call a function, of a module, in a process of its own, which a hostile file may take down."""
    from dcd_deploy.runtimes.isolated import Isolated
    from dcd_deploy.runtimes.sidecar import warn_of_sidecar

    module, _, name = summarise.partition(":")
    with Isolated(existing_file(path, "a model file")) as other:
        warn_of_sidecar(path)
        return other.call(getattr(import_module(module), name), path)


def _inspect_captured(path: Path, progress: Progress, network: NetworkOptions) -> CheckpointSummary:
    """Count a network that has to be captured for it: a user's own, or one with submodules that are kept whole."""
    from dcd_deploy.export.summary import summarise_captured
    from dcd_deploy.models.inspection import described

    found = trained_network(path, progress=progress, **network)
    return described(found.checkpoint, summarise_captured(found.captured(progress), found.title), found.assumed)
