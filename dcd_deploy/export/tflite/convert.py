"""Deploy form → TFLite, by litert-torch.

The channels-last deploy form consists of operators that are TFLite's own (``channels_last.operators``), so that the
converter has nothing to transpose and little to decide. What each means is registered here.

Both converters, torch's to ONNX too, decompose operators by a table, which retraces the whole graph twice with tensors
that have no data: most of their time. A graph with none of the table's operators, and none that writes into its inputs,
is decomposed already. Some that litert-torch would decompose are written as what they become, in place:

    relu6(x)             hardtanh(x, 0, 6)          reshape(x, s), flatten(x)    view(x, shape)
    pad(x, p, value)     constant_pad_nd(x, p, value)

and for both, since torch's exporter would write an Einsum, which no runtime has a quick kernel for,

    x.mT                 transpose(x, -2, -1)

Where an operator is left that a table might decompose, the converter does as it always does.
"""

from __future__ import annotations

import contextlib
import io
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import DispatchKey
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx import Node

from dcd_deploy.artifacts import INPUT, NHWC, OUTPUT, file_shape
from dcd_deploy.export.deployable import without_stack_traces
from dcd_deploy.export.refusal import ONNX_INSTEAD, refused
from dcd_deploy.export.tflite.operators import OUTPUT_SHAPE, WRITTEN, Operand
from dcd_deploy.lowering.channels_last.operators import to_channels_first, to_channels_last
from dcd_deploy.native_output import captured_native_output, without_remarks
from dcd_deploy.optional import require
from dcd_deploy.samples import InputSpec

aten = torch.ops.aten
Rewrites = dict[Any, Callable[[Node], tuple[Any, ...] | None]]
LITERT_VIEW = "safe_run_decompositions.<locals>.<lambda>"  # in place of each view, while litert-torch decomposes


@contextlib.contextmanager
def decomposed_where_needed(*, composites: bool) -> Iterator[None]:
    """Let no graph be traced again that is decomposed already, while the block runs.

    ``composites`` says whether the converter takes operators that are composed of others, such as linear, as they are.
    """
    decompose = ExportedProgram.run_decompositions

    def run(program: ExportedProgram, decomp_table: Any = None, **settings: Any) -> ExportedProgram:
        if decomp_table is not None:
            _rewrite(program, TURNED if composites else REWRITES)
            if _decomposed(program, decomp_table, composites=composites):
                return program
        whole: ExportedProgram = decompose(program, decomp_table, **settings)
        return whole

    ExportedProgram.run_decompositions = run  # type: ignore[method-assign]
    try:
        yield
    finally:
        ExportedProgram.run_decompositions = decompose  # type: ignore[method-assign]


def _decomposed(program: ExportedProgram, table: Any, *, composites: bool) -> bool:
    """Whether every operator of a program is one that no table decomposes."""
    targets = {node.target for node in program.graph.nodes if node.op == "call_function"} - {operator.getitem}
    return all(
        isinstance(target, OpOverload)
        and target not in table
        and not target._schema.is_mutable  # noqa: SLF001
        and (composites or not target.has_kernel_for_dispatch_key(DispatchKey.CompositeImplicitAutograd))
        for target in targets
    )


def _rewrite(program: ExportedProgram, rewrites: Rewrites) -> None:
    """Write operators as what they become, in place; the others stay."""
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        if getattr(node.target, "__qualname__", "") == LITERT_VIEW:
            node.target = aten.view.default if _can_be_viewed(node) else node.target
        elif (rewritten := rewrites.get(node.target)) is not None and (arguments := rewritten(node)) is not None:
            node.target, node.args, node.kwargs = arguments[0], arguments[1:], {}
    program.graph_module.recompile()


def _relu6(node: Node) -> tuple[Any, ...]:
    return aten.hardtanh.default, node.args[0], 0.0, 6.0


def _pad(node: Node) -> tuple[Any, ...] | None:
    arguments = dict(zip(("x", "pad", "mode", "value"), node.args, strict=False)) | node.kwargs
    if arguments.get("mode", "constant") != "constant":
        return None
    return aten.constant_pad_nd.default, arguments["x"], arguments["pad"], arguments.get("value") or 0.0


def _turned(node: Node) -> tuple[Any, ...]:
    return aten.transpose.int, node.args[0], -2, -1


def _view(node: Node) -> tuple[Any, ...] | None:
    shape = [*node.meta["val"].shape]
    if not all(isinstance(size, int) for size in shape) or not _can_be_viewed(node):
        return None
    return aten.view.default, node.args[0], shape


def _can_be_viewed(node: Node) -> bool:
    """Whether what a node reshapes lies so that torch, which may trace the graph again, calls it a view."""
    operand = node.args[0]
    assert isinstance(operand, Node)
    if "val" not in operand.meta:  # a transposition that the converter has just put in
        return False
    try:
        operand.meta["val"].view(node.meta["val"].shape)
    except (RuntimeError, ValueError):  # it was permuted: torch would have to copy
        return False
    return True


TURNED: Rewrites = {aten.mT.default: _turned}
REWRITES: Rewrites = {
    **TURNED,
    aten.relu6.default: _relu6,
    aten.pad.default: _pad,
    aten.reshape.default: _view,
    aten.flatten.using_ints: _view,
}


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
        found = answer if isinstance(answer, tuple | list) else (answer,)
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
    shapes = [[size or batch for size in file_shape((batch, *each.shape), layout)] for each in inputs]
    types = [getattr(torch, each.dtype) for each in inputs]
    examples = tuple(torch.zeros(shape, dtype=dtype) for shape, dtype in zip(shapes, types, strict=True))
    with _quiet() as remarks:
        converter = require("litert_torch")
        _register_operators()
        try:
            with decomposed_where_needed(composites=False), without_stack_traces():
                model = converter.convert(network, examples)
            content: bytes = model.model_content()
        except Exception as error:  # the converter raises whatever its layers raise
            raise refused("litert-torch", single, error, _said(error, remarks()), ONNX_INSTEAD) from error
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


def _said(error: Exception, remarks: str) -> str:
    """Return what the converter said in one line: its error, and its first remarks of errors."""
    said = str(error).partition("While executing")[0]
    complaints = [line for line in remarks.splitlines() if "error:" in line]
    text = " ".join(f"{said} {' '.join(complaints[:3])}".split()) or type(error).__name__
    return text[:400]


@contextlib.contextmanager
def _quiet() -> Iterator[Callable[[], str]]:
    """Keep the converter's own progress and remarks off the user's terminal; its errors are raised."""
    with without_remarks(), contextlib.redirect_stdout(io.StringIO()), captured_native_output() as remarks:
        yield remarks
