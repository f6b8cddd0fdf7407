"""A profile by LiteRT: XNNPACK's own times of its operators, in whole microseconds, mapped back to those of the file.

XNNPACK keeps the order of the file, but knows its operators by its own names, and a few differ:

    PAD                         may go into the convolution behind it
    RESHAPE and the like        may be nothing at all
    a fused activation          may be a Clamp of its own, behind its operator
    a RELU                      may go into the operator before it
    FULLY_CONNECTED             may have a Reshape of its own before it
    CONCATENATION               may be several copies, or fewer than it has inputs
    DEQUANTIZE                  of weights that are stored small is done before the first run

So the two lists are gone through side by side. Where they do not fit, in files that are not of this package, XNNPACK's
operators stand under their own names, and the multiply-adds are not known.

The delegate rounds the time of each operator down to a microsecond: small operators are missing up to one each, which
shows in the sum beside the latency.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dcd_deploy.artifacts import TensorSpec
from dcd_deploy.benchmarks.litert_profiler import OperatorTime, ProfiledLiteRt
from dcd_deploy.benchmarks.profile import ProfiledNode
from dcd_deploy.runtimes.litert import laid_out
from dcd_deploy.runtimes.nodes import STATIC, UNKNOWN, FileNode, part_of
from dcd_deploy.runtimes.session import Input

CONVOLUTION, DENSE = "Convolution", "Fully Connected"
CLAMP, COPY = "Clamp", "Copy"
LABELS = {
    "CONV_2D": (CONVOLUTION, DENSE),
    "DEPTHWISE_CONV_2D": (CONVOLUTION, "VMulCAddC"),
    "FULLY_CONNECTED": (DENSE, f"Dynamic {DENSE}"),
    "BATCH_MATMUL": ("Batch Matrix Multiply", DENSE),
    "AVERAGE_POOL_2D": ("Average Pooling", "Global Average Pooling"),
    "MAX_POOL_2D": ("Max Pooling",),
    "MUL": ("Multiply",),
    "ADD": ("Add",),
    "SUB": ("Subtract",),
    "PAD": ("Constant Pad",),
    "RESHAPE": ("Static Reshape", "Copy"),
    "TRANSPOSE": ("Transpose",),
    "STRIDED_SLICE": ("Static Slice", "Slice"),
    "SOFTMAX": ("Softmax",),
    "LOGISTIC": ("Sigmoid",),
    "TANH": ("Tanh",),
    "GELU": ("GELU",),
    "ELU": ("ELU",),
    "LEAKY_RELU": ("Leaky ReLU",),
    "PRELU": ("PReLU",),
    "HARD_SWISH": ("HardSwish",),
    "DIV": ("Divide",),
    "MAXIMUM": ("Maximum",),
    "MINIMUM": ("Minimum",),
    "TRANSPOSE_CONV": ("Deconvolution",),
    "RESIZE_BILINEAR": ("Resize Bilinear",),
    "CONCATENATION": ("Concatenate", COPY),
    "MEAN": ("Mean", "Global Average Pooling", "Static Mean"),
    "RELU": (CLAMP,),
    "RELU6": (CLAMP,),
    "QUANTIZE": ("Convert",),
    "DEQUANTIZE": ("Convert",),
}
STORED = "stored."  # what weights that are stored small are called
MAY_BE_NOTHING = frozenset({"PAD", "RESHAPE", "EXPAND_DIMS", "SQUEEZE", "RELU", "RELU6", "CONCATENATION"})


class LiteRtProfile:
    """A model compiled with the profiler on, and the operators of each counted run."""

    def __init__(
        self,
        path: Path,
        nodes: Sequence[FileNode],
        inputs: Sequence[Input],
        entries: Sequence[TensorSpec],
        threads: int,
        flags: int | None = None,
    ) -> None:
        given = [laid_out(values, entry) for values, entry in zip(inputs, entries, strict=True)]
        self._model = ProfiledLiteRt(path, given, threads, flags)
        self._nodes = nodes
        self._runs: list[list[OperatorTime]] = []

    def run(self, *, counted: bool) -> None:
        """Run once under the profiler."""
        operators = self._model.profile()
        if counted:
            self._runs.append(operators)

    def finish(self) -> tuple[ProfiledNode, ...]:
        """Return the operators of the file with the medians of what they became."""
        first = self._runs[0]
        times = np.array([[operator.elapsed_us for operator in run] for run in self._runs if len(run) == len(first)])
        medians = np.median(times, axis=0) / 1000
        made_of = match(first, self._nodes)
        if made_of is None:
            return tuple(
                ProfiledNode(operator.label, operator.label, "", UNKNOWN, float(median_ms), 0, 0, 0)
                for operator, median_ms in zip(first, medians, strict=True)
            )
        total = dict.fromkeys(made_of, 0.0)
        for place, median_ms in zip(made_of, medians, strict=True):
            total[place] += float(median_ms)
        layers = layers_of(self._nodes)
        return tuple(_node(self._nodes[i], layers[i], median_ms) for i, median_ms in sorted(total.items()))

    def close(self) -> None:
        """Free the compiled model."""
        self._model.close()


def match(operators: Sequence[OperatorTime], nodes: Sequence[FileNode]) -> list[int] | None:
    """Return for each operator that ran its place among the file's, or None where the two lists do not fit."""
    own = {operator.index for operator in operators if operator.index is not None}
    places: list[int] = []
    waiting = deque(i for i, node in enumerate(nodes) if i not in own and not _is_at_load(node))
    last: int | None = None
    for operator in operators:
        if operator.index is not None:
            found: int | None = operator.index if operator.index < len(nodes) else None
        elif last is not None and _is_more_of(operator, nodes[last]):
            found = last
        elif waiting and _is_begin_of(operator, nodes[waiting[0]]):
            found = waiting[0]
        else:
            found = last = _next(operator, nodes, waiting)
        if found is None:
            return None
        places.append(found)
    rest_is_nothing = all(nodes[i].operator in MAY_BE_NOTHING for i in waiting)
    return places if rest_is_nothing else None


def _is_at_load(node: FileNode) -> bool:
    return node.operator == "DEQUANTIZE" and node.inputs[0].startswith(STORED)


def _is_more_of(operator: OperatorTime, node: FileNode) -> bool:
    """Whether an operator is part of the one before it: its fused activation, or one more copy of a concatenation."""
    more = _is(operator, (COPY,)) and node.operator == "CONCATENATION"
    return more or (node.activated and _is(operator, (CLAMP,)))


def _is_begin_of(operator: OperatorTime, node: FileNode) -> bool:
    """Whether an operator is part of the one behind it: the rows that a dense layer makes of a map."""
    return node.operator == "FULLY_CONNECTED" and _is(operator, LABELS["RESHAPE"])


def _next(operator: OperatorTime, nodes: Sequence[FileNode], waiting: deque[int]) -> int | None:
    """Return the next place of the file that ``operator`` may be, passing over what may be nothing."""
    while waiting:
        i = waiting.popleft()
        if _is(operator, LABELS.get(nodes[i].operator, ())):
            return i
        if nodes[i].operator not in MAY_BE_NOTHING:
            return None
    return None


def _is(operator: OperatorTime, labels: Sequence[str]) -> bool:
    return operator.label.startswith(tuple(f"{label} (" for label in labels))


def layers_of(nodes: Sequence[FileNode]) -> list[str]:
    """Return the layer of each operator; the last, named as the graph's output, is of the layer that it reads."""
    makers: dict[str, str] = {}
    layers = []
    for node in nodes:
        layer = node.layer or next((makers[name] for name in node.inputs if makers.get(name)), "")
        makers |= dict.fromkeys(node.outputs, layer)
        layers.append(layer)
    return layers


def _node(node: FileNode, layer: str, median_ms: float) -> ProfiledNode:
    part = node.part if node.layer or not layer else part_of(STATIC, node.operator)
    return ProfiledNode(
        node.name, node.operator, layer, part, median_ms, node.macs, node.bytes_read, node.bytes_written
    )
