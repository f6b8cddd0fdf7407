"""onnx.reference, the evaluator of the standard itself; slow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from onnx.reference import ReferenceEvaluator


def version() -> str:
    """Return the version."""
    return onnx.__version__


def opened(path: str, entries: Mapping[str, Sequence[int]], outputs: Sequence[str], threads: int) -> Any:
    """Open an ONNX file; the result maps arrays by name to the outputs in their order."""
    del entries, threads
    evaluator = ReferenceEvaluator(path)
    return lambda values: evaluator.run(list(outputs), dict(values))
