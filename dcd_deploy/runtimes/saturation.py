"""Whether onnxruntime here gives other sums in int8 than on ARM, as on an x86 without VNNI.

There two products of uint8 and int8 are added up in 16 bits, and what is beyond is cut off: 255 · 127 + 255 · 127 gives
32767. Weights of 7 bits never get so far. Those of 8 bits, in files for ARM, may, and nothing says so.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np

from dcd_deploy.artifacts import INT8, ModelCard
from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession

SAFE_BITS = 7
COUNT, LEFT, RIGHT = 4, 255, 127  # so many products of these numbers
# y = MatMulInteger(a (1, 4) uint8, b (4, 1) int8), as bytes since onnx, which writes such things, need not be here
PROBE = (
    b'\x08\x07:\\\n\x18\n\x01a\n\x01b\x12\x01y"\rMatMulInteger\x12\x01gZ\x13\n\x01a\x12\x0e\n\x0c\x08\x02\x12\x08\n\x02'
    b"\x08\x01\n\x02\x08\x04Z\x13\n\x01b\x12\x0e\n\x0c\x08\x03\x12\x08\n\x02\x08\x04\n\x02\x08\x01b\x13\n\x01y\x12\x0e\n"
    b"\x0c\x08\x06\x12\x08\n\x02\x08\x01\n\x02\x08\x01B\x04\n\x00\x10\r"
)


class OtherNumbersWarning(UserWarning):
    """A file gives other answers on this processor than on those that it was made for."""


@cache
def saturates() -> bool:
    """Return whether onnxruntime, asked on this processor, cuts off what does not fit in 16 bits."""
    values: Any = np.full((1, COUNT), LEFT, np.uint8), np.full((COUNT, 1), RIGHT, np.int8)
    (found,) = OnnxRuntimeSession(PROBE, 1).run_all(values)
    return bool(found.item() != COUNT * LEFT * RIGHT)


def warn_of_saturation(card: ModelCard) -> None:
    """Warn where a file of onnxruntime has weights of more bits than this processor can add up."""
    bits = card.precision.bits
    if card.precision.format == INT8 and bits is not None and bits > SAFE_BITS and saturates():
        message = (
            f"this file is for ARM: its weights have {bits} bits, and this processor, an x86 without VNNI, cuts off "
            "sums of them, so its answers here are others; for here, export it with another `target`"
        )
        warnings.warn(message, OtherNumbersWarning, stacklevel=4)
