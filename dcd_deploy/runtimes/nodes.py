"""The nodes of a model file: what each computes, and of which layer of the network it is part.

In files of this package the outputs of nodes are named after their origin:

    features.3.conv.0/attention.squeeze/gemm      layer of the trained network / what within it / operator
    features.3.conv.0/dynamic/reshape_2           the second of its kind there

What is within a layer is a submodule of its lowering, or "dynamic" for what the lowering does itself,
"static" for a layer that is not dynamic, "activation", "norm", "residual" for the sum at the end of a block, or
"static.mean" and the like for other functions behind a layer. From that, not from the kind of operator, follows which
part of the network a node is:

    static    what the static twin of the network does too: W0, a kernel applied to a map, activations, sums, pooling
    dynamic   what dynamic convolution costs: attention, Q, Φ, P, λ, the making of kernels
    layout    what moves data alone: transpositions, and reshapes outside the dynamic part
    unknown   nodes of files that are not of this package

Of an opened TFLite model ``delegation`` tells which the XNNPACK delegate took. The interpreter lists the operators of
the file and, behind them, one DELEGATE for each partition. A tensor inside a partition is never computed by the
interpreter, so it has no data to read; that tells what was taken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from dcd_deploy.runtimes.litert import LiteRtSession

STATIC, DYNAMIC, LAYOUT, UNKNOWN = PARTS = ("static", "dynamic", "layout", "unknown")
# What within a layer the twin has too. "features.joint" computes W0 x and Q x in one convolution, mostly W0 x.
OF_THE_TWIN = frozenset(
    {"static", "static_conv", "features.static", "features.joint", "applied", "activation", "norm", "residual"}
)
FUNCTION = "static."  # and what it computes: a function of the network itself
MOVES = frozenset({"transpose", "reorderinput", "reorderoutput"})
RESHAPES = frozenset({"reshape", "flatten", "squeeze", "unsqueeze", "expanddims"})
NAME = re.compile(r"(?P<layer>[\w.]+)/(?P<inside>[\w.]+)/(?P<operator>[a-z0-9]+)(_\d+)?")


@dataclass(frozen=True)
class FileNode:
    """A node as it stands in a file; ``macs`` is for the file's own batch, a free one counted as one.

    The bytes are of all tensors read and written, weights included; none where the runtime says them better.
    """

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    macs: int
    bytes_read: int = 0
    bytes_written: int = 0
    activated: bool = False  # whether an activation is fused into it, in the file

    @property
    def layer(self) -> str:
        """The layer of the trained network, or nothing."""
        found = NAME.fullmatch(self.name)
        return found["layer"] if found else ""

    @property
    def part(self) -> str:
        """One of ``PARTS``."""
        found = NAME.fullmatch(self.name)
        return part_of(found["inside"], self.operator) if found else UNKNOWN


def part_of(inside: str, operator: str) -> str:
    """Return the part of an operator that is ``inside`` its layer."""
    kind = operator.lower().replace("_", "")
    of_the_twin = inside in OF_THE_TWIN or inside.startswith(FUNCTION)
    if kind in MOVES or (kind in RESHAPES and of_the_twin):
        return LAYOUT
    return STATIC if of_the_twin else DYNAMIC


DELEGATE = "DELEGATE"
REASONS = {
    "STRIDED_SLICE": "XNNPACK slices with strides of 1 alone",
    "FULLY_CONNECTED": "XNNPACK wants constant weights, unless a flag says otherwise",
    "CONV_2D": "XNNPACK wants constant weights",
    "DEPTHWISE_CONV_2D": "XNNPACK wants constant weights",
    "BATCH_MATMUL": "this version of XNNPACK has no float BATCH_MATMUL of computed operands",
    "RESHAPE": "between operators that were left out",
}


@dataclass(frozen=True)
class LeftOut:
    """An operator that the delegate did not take: its place in the file, its name, and why, where that is known."""

    index: int
    operator: str
    reason: str


@dataclass(frozen=True)
class Delegation:
    """How a model is divided between the delegate and the interpreter."""

    partitions: int
    taken: int
    left_out: tuple[LeftOut, ...]

    @property
    def whole(self) -> bool:
        """Whether the delegate took everything, in one piece."""
        return self.partitions == 1 and not self.left_out


def delegation(session: LiteRtSession) -> Delegation:
    """Return how ``session``, opened with the delegate, is divided."""
    operators: list[dict[str, Any]] = session.interpreter._get_ops_details()  # noqa: SLF001 - there is no public list
    delegates = [operator for operator in operators if operator["op_name"] == DELEGATE]
    handed_out = {int(tensor) for delegate in delegates for tensor in delegate["outputs"]}
    own = [operator for operator in operators if operator["op_name"] != DELEGATE]
    left = tuple(
        LeftOut(int(operator["index"]), operator["op_name"], REASONS.get(operator["op_name"], "unknown"))
        for operator in own
        if not all(int(t) in handed_out or not _has_data(session, int(t)) for t in operator["outputs"])
    )
    return Delegation(len(delegates), len(own) - len(left), left)


def _has_data(session: LiteRtSession, tensor: int) -> bool:
    try:
        session.interpreter.get_tensor(tensor)
    except ValueError:
        return False
    return True
