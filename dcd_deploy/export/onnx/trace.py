"""Deploy form → ONNX, by tracing it with torch's exporter.

The exporter's own graph is kept as it came ("raw"), and once more without the constructs that only it understands
("tidied"): shape arithmetic, sequences, casts, functions. ``simplify`` takes it from there.

torch's own clean-up (``ONNXProgram.optimize``) tidies too, and tries some sixty rewriting rules at every node, which
takes longer than tracing a small network. Of these a few leave a trace in our graphs; onnxsim does the rest.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes import common
from onnxscript import optimizer
from onnxscript.rewriter import RewritePass
from onnxscript.rewriter.rules.common import (
    collapse_slice2_rule,
    collapse_slice_rule,
    flatten_to_reshape_rule,
    remove_optional_bias_from_conv_rule,
    remove_optional_bias_from_conv_transpose_rule,
    remove_optional_bias_from_gemm_rule,
)
from torch import nn

from dcd_deploy.artifacts import INPUT, OUTPUT
from dcd_deploy.errors import ExportError
from dcd_deploy.export.build_config import DEFAULT_OPSET
from dcd_deploy.export.deployable import deployable, without_stack_traces
from dcd_deploy.export.onnx.opsets import TRACED_FROM, TRACED_UP_TO, check_opset
from dcd_deploy.export.refusal import refused
from dcd_deploy.export.tflite.convert import decomposed_where_needed
from dcd_deploy.lowering.exported import free_batch
from dcd_deploy.native_output import without_remarks
from dcd_deploy.samples import InputSpec

RULES = (
    collapse_slice_rule,  # of a whole dimension
    collapse_slice2_rule,
    flatten_to_reshape_rule,
    remove_optional_bias_from_conv_rule,  # of zeros
    remove_optional_bias_from_conv_transpose_rule,
    remove_optional_bias_from_gemm_rule,
)
PRIVATE = "dcd_deploy.output."
ROUNDS = 2  # a constant that was found may make another


def tidy(model: ir.Model) -> None:
    """Tidy the graph of an exporter, in place."""
    passes = ir.passes.Sequential(
        common.InlinePass(),
        common.RemoveUnusedNodesPass(),
        ir.passes.PassManager([_FoldConstants(), common.RemoveUnusedNodesPass()], steps=ROUNDS, early_stop=True),
        RewritePass(RULES),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedFunctionsPass(),  # type: ignore[no-untyped-call]  # it has no annotations
        common.RemoveUnusedOpsetsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
    )
    with without_remarks():
        passes(model)


class _FoldConstants(ir.passes.InPlacePass):
    """Compute what is constant, with the exporter's own shapes."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        result = optimizer.fold_constants(model)
        return ir.passes.PassResult(model, modified=bool(result.modified))


translation: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
if torch.__version__.startswith("2.13."):  # whose insides it knows
    from dcd_deploy.export.onnx.quick_translation import translated_quickly

    translation = translated_quickly

ANSI = re.compile(r"\x1b\[[0-9;]*m")  # colours, which the exporter puts into its messages


@dataclass(frozen=True)
class TracedOnnx:
    """The exporter's graph as it came, and tidied."""

    raw: onnx.ModelProto
    tidied: onnx.ModelProto


def to_onnx(
    network: nn.Module,
    height: int,
    width: int,
    batch: int | None = 1,
    opset: int = DEFAULT_OPSET,
    channels: int = 3,
) -> TracedOnnx:
    """Trace a classifier of pictures (batch, channels, height, width) in float32, as ``trace_onnx`` does."""
    return trace_onnx(deployable(network), (InputSpec(INPUT, (channels, height, width)),), (OUTPUT,), batch, opset)


def trace_onnx(
    single: nn.Module,
    inputs: Sequence[InputSpec],
    outputs: Sequence[str],
    batch: int | None = 1,
    opset: int = DEFAULT_OPSET,
) -> TracedOnnx:
    """Trace a network in float32 (``deployable``), as a rule the deploy form, with its inputs and outputs by name.

    A batch of None stays free, in all of them. Of an opset below ``TRACED_FROM`` the graph is still one of that
    (``dialect`` writes it in the older one).

    Raises:
        OptionError: the opset is not among ``OPSETS``.
        ExportError: the exporter refused the network.
    """
    check_opset(opset)
    wanted = max(opset, TRACED_FROM)
    traced = min(wanted, TRACED_UP_TO)
    program = _trace(single, inputs, outputs, batch, traced)
    _name_outputs(program.model.graph, [each.name for each in inputs], outputs)
    raw = onnx.ModelProto()
    raw.CopyFrom(program.model_proto)
    tidy(program.model)
    graph, names = program.model.graph, [*(each.name for each in inputs), *outputs]
    for value, name in zip((*graph.inputs, *graph.outputs), names, strict=True):
        value.name = name  # an input that is returned, or a tensor that is returned twice, gets another by the way
    tidied = program.model_proto
    entry = next(entry for entry in tidied.opset_import if entry.domain == "")
    changed = sorted({node.op_type for node in tidied.graph.node if _changed(node, entry.version, wanted)})
    if entry.version != traced or changed:
        raise ExportError(
            expected=f"a model of opset {wanted}",
            but=f"the exporter gave {entry.version}{f', and {changed[0]} is another since' if changed else ''}",
            advice=f"choose `opset` {entry.version} or below",
        )
    entry.version = wanted
    return TracedOnnx(raw, tidied)


def _changed(node: onnx.NodeProto, found: int, wanted: int) -> bool:
    """Whether an operator of a newer opset is another one."""
    if node.domain:
        return False
    since = {onnx.defs.get_schema(node.op_type, opset).since_version for opset in (found, wanted)}
    return len(since) > 1


def _trace(
    network: nn.Module, inputs: Sequence[InputSpec], outputs: Sequence[str], batch: int | None, opset: int
) -> torch.onnx.ONNXProgram:
    examples = tuple(torch.zeros(batch or 2, *each.shape, dtype=getattr(torch, each.dtype)) for each in inputs)
    free = free_batch(network, len(inputs), torch.export.Dim("N")) if batch is None else None

    def export() -> torch.onnx.ONNXProgram | None:
        with without_remarks(), torch.no_grad(), without_stack_traces(), translation():
            return torch.onnx.export(
                network,
                examples,
                dynamo=True,
                optimize=False,
                opset_version=opset,
                input_names=[each.name for each in inputs],
                output_names=[f"{PRIVATE}{i}" for i in range(len(outputs))],
                dynamic_shapes=free,
                verbose=False,
            )

    try:
        program = _tried_quickly(export)
    except torch.onnx.OnnxExporterError as error:
        raise refused("torch's ONNX exporter", network, error, _said(error)) from error
    assert program is not None
    sizes = [value.shape[0] for value in program.model.graph.inputs if value.shape is not None]
    if batch is None and any(isinstance(size, int) for size in sizes):
        raise ExportError(
            expected="a network that leaves the batch free",
            found=f"a forward from which torch.export concludes that it is {len(examples[0])}, as from a split by the "
            "batch's size",
            advice="use slices (`y[:n]`, `y[n:]`), or export at `batch` 1",
        )
    return program


def _name_outputs(graph: ir.Graph, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Name the outputs of a traced graph, whose own are ``PRIVATE``; what is called so inside gets another name.

    So does a weight that is called as an input is.
    """
    for weight in list(graph.initializers.values()):
        if weight.name in (*inputs, *outputs):
            weight.name = f"{weight.name}.weight"
    for value in (value for node in graph.all_nodes() for value in node.outputs):
        if value.name in outputs:
            value.name = f"{value.name}.inner"
    for value, name in zip(graph.outputs, outputs, strict=True):
        if (value.name or "").startswith(PRIVATE):  # an input that is returned keeps the input's
            value.name = name


def _said(error: BaseException) -> str:
    """Return the first line of what the first cause of an error says."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(ANSI.sub("", str(error)).strip().splitlines()), type(error).__name__)


def _tried_quickly(export: Callable[[], torch.onnx.ONNXProgram | None]) -> torch.onnx.ONNXProgram | None:
    """Export without decomposing, or, where the exporter has no word for an operator (a norm by itself), with it."""
    try:
        with decomposed_where_needed(composites=True):
            return export()
    except torch.onnx.OnnxExporterError:
        return export()
