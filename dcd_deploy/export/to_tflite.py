"""Deploy form → TFLite, by litert-torch.

The channels-last deploy form consists of operators that are TFLite's own (``channels_last.operators``), so that the
converter has nothing to transpose and little to decide. What each means is registered here.
"""

from __future__ import annotations

import contextlib
import io
import logging
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dcd_deploy.artifacts import INPUT, NHWC, OUTPUT, file_shape
from dcd_deploy.errors import ExportError
from dcd_deploy.export.decomposed import decomposed_where_needed
from dcd_deploy.export.quick_tracing import without_stack_traces
from dcd_deploy.export.tflite_operators import OUTPUT_SHAPE, WRITTEN, Operand
from dcd_deploy.lowering.channels_last.operators import to_channels_first, to_channels_last
from dcd_deploy.native_output import captured_native_output
from dcd_deploy.optional import require
from dcd_deploy.samples import InputSpec


class NamedNetwork(nn.Module):
    """The network with its outputs under the names that the file gives them, and all its maps in the file's layout."""

    def __init__(self, network: nn.Module, outputs: Sequence[str], layout: str) -> None:
        super().__init__()
        self.network = network
        self.outputs = tuple(outputs)
        self.layout = layout

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        last = self.layout == NHWC
        answer = self.network(*(to_channels_first(x) if last and x.ndim == 4 else x for x in inputs))
        found = tuple(answer) if isinstance(answer, tuple | list) else (answer,)
        maps = (to_channels_last(y) if last and y.ndim == 4 else y for y in found)
        return dict(zip(self.outputs, maps, strict=True))


def to_tflite(
    single: nn.Module, height: int, width: int, batch: int = 1, layout: str = NHWC, channels: int = 3
) -> bytes:
    """Convert the deploy form of a classifier of pictures, as ``convert_tflite`` does."""
    return convert_tflite(single, (InputSpec(INPUT, (channels, height, width)),), (OUTPUT,), batch, layout)


def convert_tflite(
    single: nn.Module, inputs: Sequence[InputSpec], outputs: Sequence[str], batch: int = 1, layout: str = NHWC
) -> bytes:
    """Convert the channels-last deploy form, in float32 (``deployable``), for one batch size.

    It takes its inputs and gives its outputs as torch has them; in the file all maps are in ``layout``. The inputs get
    their names from ``tflite_file.finish``.

    Raises:
        MissingDependencyError: litert-torch is not installed.
        ExportError: the converter refused the network.
    """
    network = _contiguous(NamedNetwork(single, outputs, layout).eval())
    shapes = (file_shape((batch, *each.shape), layout) for each in inputs)
    examples = tuple(torch.zeros([size or batch for size in shape]) for shape in shapes)
    with _quiet() as remarks:
        converter = require("litert_torch")
        _register_operators()
        try:
            with decomposed_where_needed(composites=False), without_stack_traces():
                model = converter.convert(network, examples)
            content: bytes = model.model_content()
        except Exception as error:  # the converter raises whatever its layers raise
            raise ExportError(_refusal(error, remarks())) from error
    return content


def _contiguous(network: nn.Module) -> nn.Module:
    """Lay all weights out in a row.

    litert-torch tells constants apart by their address, but copies those that are not contiguous, and frees the copy:
    the next one of that size is taken for the one before (google-ai-edge/litert-torch issue 1061).
    """
    for weight in network.parameters():
        weight.data = weight.data.contiguous()
    return network


def _register_operators() -> None:
    """Tell the converter that the operators of the deploy form are TFLite's operators of the same names."""
    ir = require("litert_converter.mlir.ir")
    stablehlo = require("litert_converter.mlir.dialects.stablehlo")
    lowerings = require("litert_torch.backend.lowerings")

    def attribute(value: int | str) -> Any:
        if isinstance(value, bool):
            return ir.BoolAttr.get(value)
        if isinstance(value, str):
            return ir.StringAttr.get(value)
        return ir.IntegerAttr.get(ir.IntegerType.get_signless(32), value)

    def operand(one: Operand, tensors: list[Any], node: torch.fx.Node) -> Any:
        if isinstance(one, int):
            return tensors[one]
        numbers = node.meta["val"].shape if one == OUTPUT_SHAPE else one
        return lowerings.utils.convert_shape_to_ir_value([int(number) for number in numbers])

    def lowering(name: str) -> Callable[..., Any]:
        def lower(context: Any, *arguments: Any) -> Any:
            tensors = [argument for argument in arguments if isinstance(argument, ir.Value)]
            written = WRITTEN[name](*arguments[len(tensors) :])
            operands = range(len(tensors)) if written.operands is None else written.operands
            attributes = {key: attribute(value) for key, value in written.attributes.items()}
            return stablehlo.custom_call(
                result=lowerings.utils.node_meta_to_ir_types(context.node),
                inputs=[operand(one, tensors, context.node) for one in operands],
                call_target_name=ir.StringAttr.get(f"tfl.{name}"),
                has_side_effect=ir.BoolAttr.get(False),
                backend_config=ir.StringAttr.get(str(ir.DictAttr.get(attributes))),
            )

        return lower

    for name in WRITTEN:
        operator = getattr(torch.ops.dcd_deploy, name).default
        lowerings.registry.lower(operator)(lowering(name))


def _refusal(error: Exception, remarks: str) -> str:
    """Say which operator and layer the converter refused, as far as it tells."""
    said = str(error).partition("While executing")[0]
    complaints = [line for line in remarks.splitlines() if "error:" in line]
    text = " ".join(f"{said} {' '.join(complaints[:3])}".split()) or type(error).__name__
    layer = _layer_at(error)
    where = f" in layer '{layer}'" if layer else ""
    return f"litert-torch refused the network{where}: {text[:400]}; try another `lowering`, or `to` onnx"


def _layer_at(error: Exception) -> str:
    """Return the name of the layer whose operator was being lowered, from the frames that the error passed."""
    found = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        for value in frame.f_locals.values():
            if isinstance(value, torch.fx.Node) and (stack := value.meta.get("nn_module_stack")):
                found = str(list(stack.values())[-1][0])
    return found.removeprefix("L['self'].").removeprefix("network.")


@contextlib.contextmanager
def _quiet() -> Iterator[Callable[[], str]]:
    """Keep the converter's own progress and remarks off the user's terminal; its errors are raised."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            captured_native_output() as remarks,
        ):
            warnings.simplefilter("ignore")
            yield remarks
    finally:
        logging.disable(level)
