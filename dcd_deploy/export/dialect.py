"""From a simplified graph to the ONNX that was asked for.

simplified graph
  → for the target "portable": without what some runtime gets wrong (``portable``)
  → in an opset below the exporter's own (``older_opset``)
"""

from __future__ import annotations

import onnx

from dcd_deploy.export.build import BuildConfig
from dcd_deploy.export.older_opset import in_older_opset
from dcd_deploy.export.portable import portable
from dcd_deploy.export.to_onnx import TRACED_FROM
from dcd_deploy.lowering.targets import PORTABLE


def in_dialect(model: onnx.ModelProto, config: BuildConfig) -> onnx.ModelProto:
    """Return a simplified model as its target and opset ask for.

    Raises:
        ExportError: the opset lacks what the network needs.
    """
    if config.target == PORTABLE:
        model = portable(model, config.runtime)
    return in_older_opset(model, config.opset) if config.opset < TRACED_FROM else model


def of_batch(model: onnx.ModelProto, batch: int | None) -> onnx.ModelProto:
    """Return a graph whose free batch has become a number; the same graph where it is to stay free, or is a number."""
    tensors = (*model.graph.input, *model.graph.output)
    free = [size for one in tensors for size in one.type.tensor_type.shape.dim if size.dim_param]
    if batch is None or not free:
        return model
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for one in (*fixed.graph.input, *fixed.graph.output):
        for size in one.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_value = batch
    del fixed.graph.value_info[:]
    return fixed
