"""OpenCV's dnn module, version 4 or 5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2


def version() -> str:
    """Return the version."""
    return str(cv2.__version__)


def opened(path: str, entries: Mapping[str, Sequence[int]], outputs: Sequence[str], threads: int) -> Any:
    """Open an ONNX file; the result maps arrays by name to the outputs in their order."""
    del entries
    cv2.setNumThreads(threads)
    network = cv2.dnn.readNetFromONNX(path)

    def run(values: Mapping[str, Any]) -> Any:
        for name, value in values.items():
            network.setInput(value, name)
        return network.forward(outputs)

    return run
