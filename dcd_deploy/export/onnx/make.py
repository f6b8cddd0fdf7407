"""From a deploy form to an ONNX graph: what ``build`` then checks, stage by stage.

deploy form → as traced by torch's exporter → simplified, in its dialect, named → in blocks, where layers are of
lowering nchwc
"""

from __future__ import annotations

import onnx

from dcd_deploy.export.alongside import threads_by_load
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.onnx.dialect import in_dialect, of_batch
from dcd_deploy.export.onnx.in_blocks import in_blocks
from dcd_deploy.export.onnx.naming import name_onnx, onnx_scopes
from dcd_deploy.export.onnx.simplify import simplify
from dcd_deploy.export.onnx.trace import trace_onnx
from dcd_deploy.lowering.channels_first.nchwc import NchwcLowering
from dcd_deploy.lowering.deploy import DeployNetwork

TRACED, SIMPLIFIED, IN_BLOCKS = "ONNX as traced", "ONNX simplified", "ONNX in blocks"


def make(deploy: DeployNetwork, config: BuildConfig) -> dict[str, onnx.ModelProto]:
    """Return the graph of each stage, in their order.

    Raises:
        ExportError: the exporter refused the network, or the opset lacks an operator.
    """
    with threads_by_load():
        batch = config.traced_batch
        traced = trace_onnx(deploy.module, config.entries, deploy.outputs, batch, config.opset, config.weights)
    simplified = in_dialect(simplify(of_batch(traced.tidied, config.batch)), config)
    stages = {TRACED: traced.raw, SIMPLIFIED: name_onnx(simplified, onnx_scopes(traced.tidied), deploy.places)}
    if NchwcLowering.name in deploy.lowering.values() and (moved := in_blocks(stages[SIMPLIFIED])) is not None:
        stages[IN_BLOCKS] = moved
    return stages
