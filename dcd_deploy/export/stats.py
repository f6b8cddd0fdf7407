"""What a graph consists of, whatever its format."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.artifacts import FLOAT32, WEIGHTS
from dcd_deploy.export.rounding import small_bytes


@dataclass(frozen=True)
class GraphStats:
    """Counts of one model; ``macs`` for one sample."""

    nodes: int
    operators: dict[str, int]
    size_bytes: int
    macs: int


@dataclass(frozen=True)
class OnnxFacts:
    """What the package onnx tells of a file."""

    opset: int
    ir_version: int
    producer: str
    graph: GraphStats


def file_sizes(size_bytes: int, tensors: Iterable[NDArray[np.float32]], scale_bytes: int) -> dict[str, int]:
    """Return about how many bytes a file takes with its weights stored in each way; now they are in float32.

    Of int8 every tensor has scales of so many bytes.
    """
    smaller = [name for name in WEIGHTS if name != FLOAT32]
    sizes = dict.fromkeys(WEIGHTS, size_bytes)
    for values in tensors:
        for name in smaller:
            sizes[name] += small_bytes(values, name, scale_bytes) - values.nbytes
    return sizes
