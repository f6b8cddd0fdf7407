"""The graph of an ONNX file, read with the package onnx."""

from __future__ import annotations

from pathlib import Path

import onnx

from dcd_deploy.errors import ModelFileError
from dcd_deploy.export.graph import graph_stats, onnx_nodes
from dcd_deploy.export.stats import OnnxFacts
from dcd_deploy.runtimes.nodes import FileNode


def read_onnx_facts(path: Path) -> OnnxFacts:
    """Return the counts and versions of an ONNX file.

    Raises:
        ModelFileError: it is not an ONNX model, or is damaged.
    """
    try:
        model = onnx.load(path, load_external_data=False)
        stats = graph_stats(model)
    except Exception as error:  # protobuf and shape inference have no common public base
        raise ModelFileError(
            expected=f"an ONNX model at '{path}'",
            but=f"it is damaged: {error}",
            advice="fetch or export the file again",
        ) from error
    opset = max((entry.version for entry in model.opset_import if entry.domain == ""), default=0)
    return OnnxFacts(opset, model.ir_version, f"{model.producer_name} {model.producer_version}".strip(), stats)


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
