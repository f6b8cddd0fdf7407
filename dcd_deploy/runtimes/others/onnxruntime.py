"""onnxruntime, of any version, on its default CPU kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnxruntime


def version() -> str:
    """Return the version."""
    return str(onnxruntime.__version__)


def opened(path: str, entries: Mapping[str, Sequence[int]], outputs: Sequence[str], threads: int) -> Any:
    """Open an ONNX file, or an .ort file; the result maps arrays by name to the outputs in their order."""
    del entries
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda values: session.run(outputs, values)
