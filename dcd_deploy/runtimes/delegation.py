"""Which operators of an opened TFLite model the XNNPACK delegate took, and which run under TFLite's plain kernels.

The interpreter lists the operators of the file and, behind them, one DELEGATE for each partition that was taken. A
tensor inside a partition is never computed by the interpreter, so it has no data to read; that tells what was taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dcd_deploy.runtimes.litert import LiteRtSession

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
