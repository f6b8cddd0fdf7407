"""The last stage of an ONNX file in half precision: its range measured, halved, checked node by node and as a whole."""

from __future__ import annotations

import onnx

from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.checked_reference import CheckedReference
from dcd_deploy.export.half import images_for, largest_activation
from dcd_deploy.export.onnx.half import check_half, half_nodes, halved
from dcd_deploy.export.onnx.quantised.ranges import measured
from dcd_deploy.export.quantised import float_answers, judged
from dcd_deploy.export.verify import Runner
from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession

KEEP = "keep its layer in float32 with `keep_float`"


def half_graph(
    model: onnx.ModelProto, checked: CheckedReference, config: BuildConfig
) -> tuple[onnx.ModelProto, CheckedReference, float]:
    """Return a verified float32 graph in half precision, the check with what that costs, and the largest activation.

    Raises:
        OptionError: a layer to keep in float32 is none.
        VerificationError: it costs more than it may, or a map leaves the range.
    """
    images = images_for(config)
    names = half_nodes(model, config.keep_float)
    right = float_answers(_runner(model), images, checked.reference.names)
    maps = [node.output[0] for node in model.graph.node if node.name in names]
    entries = [entry.name for entry in model.graph.input]
    ranges = measured(model, [*entries, *maps], [], images.inputs).maps
    largest = largest_activation({name: max(-low, high) for name, (low, high) in ranges.items()}, {}, KEEP)
    made = halved(model, names)
    check_half(model, made, names)
    return made, judged(checked, "ONNX in float16", _runner(made), right, config), largest


def _runner(model: onnx.ModelProto) -> Runner:
    return OnnxRuntimeSession(model.SerializeToString()).run_all
