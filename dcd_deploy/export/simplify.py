"""Simplification by onnxsim, always checked, and the few passes that it lacks.

onnxsim compares its result with what it was given, on the verification inputs, each time. Our own passes are one
tuple in the order in which they run; each says why it is there.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnxsim

from dcd_deploy.errors import VerificationError
from dcd_deploy.samples import Images

Pass = Callable[[onnx.ModelProto], None]


def simplify(model: onnx.ModelProto, inputs: Images | Sequence[Images], tolerance: float) -> onnx.ModelProto:
    """Return ``model`` simplified; ``inputs`` fit its own, and outputs may move by ``tolerance`` (absolute).

    Raises:
        VerificationError: onnxsim changed what the model computes.
    """
    arrays = [inputs] if isinstance(inputs, np.ndarray) else inputs
    feed = {entry.name: values for entry, values in zip(model.graph.input, arrays, strict=True)}
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its check there, where our result goes
        simplified: onnx.ModelProto
        simplified, same = onnxsim.simplify(
            model, check_n=1, input_data=feed, check_rtol=0.0, check_atol=tolerance, certify=False
        )
    if not same:
        raise VerificationError(
            f"onnxsim changed the model: its outputs moved by more than {tolerance:.2g}; nothing was written"
        )
    for own_pass in PASSES:
        own_pass(simplified)
    onnx.checker.check_model(simplified, full_check=True)
    return simplified


def drop_tool_notes(model: onnx.ModelProto) -> None:
    """Drop the diary that onnxsim leaves in the metadata; ours goes there."""
    del model.metadata_props[:]


def lower_ir_version(model: onnx.ModelProto) -> None:
    """State the oldest file version that the opset allows, so that older runtimes open the file too."""
    model.ir_version = onnx.helper.find_min_ir_version_for(list(model.opset_import), ignore_unknown=True)


def drop_intermediate_shapes(model: onnx.ModelProto) -> None:
    """Drop the recorded shapes of intermediate values, which every runtime infers anew."""
    del model.graph.value_info[:]


PASSES: tuple[Pass, ...] = (drop_tool_notes, lower_ir_version, drop_intermediate_shapes)
