"""What an ONNX file says about itself, for ``inspect``: by the runtime, and with the package onnx its graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dcd_deploy.artifacts import METADATA_KEY, ModelCard, TensorSpec
from dcd_deploy.card_json import read_card
from dcd_deploy.errors import MissingDependencyError
from dcd_deploy.export.onnx.required_operators import required_operators
from dcd_deploy.export.stats import GraphStats, OnnxFacts
from dcd_deploy.files import existing_file
from dcd_deploy.optional import check_installed
from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession


@dataclass(frozen=True)
class OnnxFileSummary:
    """Inputs, outputs, operators and metadata of an ONNX file; ``card`` where it is one of ours.

    Where the package onnx is not installed, ``graph``, ``opset`` and ``ir_version`` are None.
    """

    path: Path
    size_bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opset: int | None
    ir_version: int | None
    producer: str
    graph: GraphStats | None
    metadata: dict[str, str]
    card: ModelCard | None
    required_operators: tuple[str, ...] = ()  # of an .ort file


def summarise_onnx(path: Path) -> OnnxFileSummary:
    """Read an ONNX file; this needs no torch.

    Raises:
        InputFileError: there is no such file.
        ModelFileError: it is not an ONNX model, or is damaged.
    """
    existing_file(path, "an ONNX model")
    return _summary(path, OnnxRuntimeSession(path), _facts(path))


def summarise_ort(path: Path) -> OnnxFileSummary:
    """Read an .ort file: what goes in and out, and the operators that a reduced build of onnxruntime needs for it.

    Raises:
        InputFileError: there is no such file.
        ModelFileError: it is not an .ort file, or is damaged.
    """
    existing_file(path, "an .ort file")
    return _summary(path, OnnxRuntimeSession(path), None, required_operators(path.read_bytes()))


def _summary(
    path: Path, session: OnnxRuntimeSession, facts: OnnxFacts | None, required: tuple[str, ...] = ()
) -> OnnxFileSummary:
    card = session.metadata.get(METADATA_KEY)
    return OnnxFileSummary(
        path=path,
        size_bytes=path.stat().st_size,
        inputs=session.inputs,
        outputs=session.outputs,
        opset=facts.opset if facts else None,
        ir_version=facts.ir_version if facts else None,
        producer=facts.producer if facts else "",
        graph=facts.graph if facts else None,
        metadata={key: text for key, text in session.metadata.items() if key != METADATA_KEY},
        card=None if card is None else read_card(card),
        required_operators=required,
    )


def _facts(path: Path) -> OnnxFacts | None:
    try:
        check_installed("onnx")
    except MissingDependencyError:
        return None
    from dcd_deploy.export.onnx.file import read_onnx_facts

    return read_onnx_facts(path)
