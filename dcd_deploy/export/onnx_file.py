"""What an ONNX file says about itself, for ``inspect``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from dcd_deploy.artifacts import METADATA_KEY, ModelCard, TensorSpec
from dcd_deploy.errors import ModelFileError
from dcd_deploy.export.graph import graph_stats, onnx_nodes
from dcd_deploy.export.stats import GraphStats
from dcd_deploy.files import existing_file
from dcd_deploy.runtimes.nodes import FileNode
from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession


@dataclass(frozen=True)
class OnnxFileSummary:
    """Inputs, outputs, operators and metadata of an ONNX file; ``card`` where it is one of ours."""

    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opset: int
    ir_version: int
    producer: str
    graph: GraphStats
    metadata: dict[str, str]
    card: ModelCard | None


def summarise_onnx(path: Path) -> OnnxFileSummary:
    """Read an ONNX file.

    Raises:
        InputFileError: there is no such file.
        ModelFileError: it is not an ONNX model, or is damaged.
    """
    existing_file(path, "an ONNX model")
    session = OnnxRuntimeSession(path)
    try:
        model = onnx.load(path, load_external_data=False)
        stats = graph_stats(model)
    except Exception as error:  # protobuf and shape inference have no common public base
        raise ModelFileError(
            expected=f"an ONNX model at '{path}'",
            but=f"it is damaged: {error}",
            advice="fetch or export the file again",
        ) from error
    card = session.metadata.get(METADATA_KEY)
    return OnnxFileSummary(
        path=path,
        inputs=session.inputs,
        outputs=session.outputs,
        opset=max((entry.version for entry in model.opset_import if entry.domain == ""), default=0),
        ir_version=model.ir_version,
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        graph=stats,
        metadata={key: text for key, text in session.metadata.items() if key != METADATA_KEY},
        card=None if card is None else ModelCard.from_json(card),
    )


def read_onnx_nodes(path: Path) -> tuple[FileNode, ...]:
    """Return the nodes of an ONNX file.

    Raises:
        ModelFileError: it is not an ONNX model, or is damaged.
    """
    try:
        return onnx_nodes(onnx.load(path, load_external_data=False))
    except Exception as error:  # as above
        raise ModelFileError(
            expected=f"an ONNX model at '{path}'",
            but=f"it is damaged: {error}",
            advice="fetch or export the file again",
        ) from error
