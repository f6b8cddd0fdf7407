"""Simplification by onnxsim, and the few passes that it lacks.

What comes out is compared with the float64 reference by the gate, on all its inputs, so that onnxsim's own comparison
is not asked for. Our own passes are one tuple in the order in which they run; each says why it is there.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable

import onnx
import onnxsim

Pass = Callable[[onnx.ModelProto], None]


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return ``model`` simplified. Whoever writes it compares what it computes."""
    with contextlib.redirect_stdout(io.StringIO()):  # it reports there, where our result goes
        simplified: onnx.ModelProto
        simplified, _ = onnxsim.simplify(model, check_n=0, certify=False)
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
