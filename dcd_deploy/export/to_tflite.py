"""Deploy form → TFLite, by litert-torch.

The channels-last deploy form is written so that the converter has nothing to transpose: each layer of it is one
operator of TFLite. Our own ``batch_matmul`` reaches the file whole, through a lowering that is registered here.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from dcd_deploy.errors import ExportError
from dcd_deploy.export.deployable import INPUT, OUTPUT, deployable
from dcd_deploy.models.deploy.channels_last.parts import batch_matmul, to_channels_first
from dcd_deploy.models.deploy.network import DeployNetwork
from dcd_deploy.optional import require

NHWC, NCHW = "nhwc", "nchw"
LAYOUTS = (NHWC, NCHW)


class NamedNetwork(nn.Module):
    """The network with its input and output under the names that the file gives them, in the input's ``layout``."""

    def __init__(self, network: nn.Module, layout: str) -> None:
        super().__init__()
        self.network = network
        self.layout = layout

    def forward(self, input: Tensor) -> dict[str, Tensor]:  # noqa: A002 - the name is the file's
        images = to_channels_first(input) if self.layout == NHWC else input
        return {OUTPUT: self.network(images)}


def input_shape(batch: int, height: int, width: int, layout: str) -> tuple[int, int, int, int]:
    """Return the shape of the file's input."""
    return (batch, height, width, 3) if layout == NHWC else (batch, 3, height, width)


def to_tflite(deploy: DeployNetwork, height: int, width: int, batch: int = 1, layout: str = NHWC) -> bytes:
    """Convert the channels-last deploy form in float32, for one batch size.

    Raises:
        MissingDependencyError: litert-torch is not installed.
        ExportError: the converter refused the network.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # the converter's native code reads it when it is loaded
    network = NamedNetwork(deployable(deploy), layout).eval()
    example = torch.zeros(input_shape(batch, height, width, layout))
    with _quiet():
        converter = require("litert_torch")
        _register_batch_matmul()
        try:
            model = converter.convert(network, sample_kwargs={INPUT: example})
            content: bytes = model.model_content()
        except Exception as error:  # the converter raises whatever its layers raise
            raise ExportError(_refusal(error, network)) from error
    return content


def _register_batch_matmul() -> None:
    """Tell the converter that ``batch_matmul`` is TFLite's operator of the same name."""
    ir = require("litert_converter.mlir.ir")
    stablehlo = require("litert_converter.mlir.dialects.stablehlo")
    lowerings = require("litert_torch.backend.lowerings")

    def lower(context: Any, x: Any, y: Any) -> Any:
        flags = {name: ir.BoolAttr.get(False) for name in ("adj_x", "adj_y", "asymmetric_quantize_inputs")}
        return stablehlo.custom_call(
            result=lowerings.utils.node_meta_to_ir_types(context.node),
            inputs=[x, y],
            call_target_name=ir.StringAttr.get("tfl.batch_matmul"),
            has_side_effect=ir.BoolAttr.get(False),
            backend_config=ir.StringAttr.get(str(ir.DictAttr.get(flags))),
        )

    assert callable(batch_matmul)  # its definition has registered the operator
    lowerings.registry.lower(torch.ops.dcd_deploy.batch_matmul.default)(lower)


def _refusal(error: Exception, network: nn.Module) -> str:
    """Say which operator and layer the converter refused, as far as its message tells."""
    text = " ".join(str(error).split()) or type(error).__name__
    layers = [name for name, _ in network.named_modules() if name and name in text]
    where = f" in layer '{max(layers, key=len)}'" if layers else ""
    return f"litert-torch refused the network{where}: {text[:400]}; try another --lowering, or --to onnx"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the converter's own progress and remarks off the user's terminal; its errors are raised."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
