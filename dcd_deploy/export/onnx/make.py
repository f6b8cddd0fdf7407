"""From a deploy form to an ONNX graph: what ``build`` then checks, stage by stage.

deploy form → as traced by torch's exporter → simplified, in its dialect, named → in blocks, where layers are of
lowering nchwc
"""

from __future__ import annotations

from collections.abc import Iterator

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


def make(deploy: DeployNetwork, config: BuildConfig) -> Iterator[tuple[str, onnx.ModelProto]]:
    """Yield each stage of a deploy form in float32 with its graph, as soon as it is there.

    Raises:
        ExportError: the exporter refused the network, or the opset lacks an operator.
    """
    with threads_by_load():
        batch = config.traced_batch
        traced = trace_onnx(deploy.module, config.entries, deploy.outputs, batch, config.opset)
    yield TRACED, traced.raw
    simplified = in_dialect(simplify(of_batch(traced.tidied, config.batch)), config)
    named = name_onnx(simplified, onnx_scopes(traced.tidied), deploy.places)
    yield SIMPLIFIED, named
    if NchwcLowering.name in deploy.lowering.values() and (moved := in_blocks(named)) is not None:
        yield IN_BLOCKS, moved
