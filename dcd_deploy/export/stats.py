"""What a graph consists of, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass


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
