"""The exporter's graph without the constructs that only it understands: shape arithmetic, sequences, casts, functions.

torch's own clean-up (``ONNXProgram.optimize``) does the same, and tries some sixty rewriting rules at every node, which
takes longer than tracing a small network. Of these a few leave a trace in our graphs; onnxsim does the rest.
"""

from __future__ import annotations

import onnx_ir as ir
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

RULES = (
    collapse_slice_rule,  # of a whole dimension
    collapse_slice2_rule,
    flatten_to_reshape_rule,
    remove_optional_bias_from_conv_rule,  # of zeros
    remove_optional_bias_from_conv_transpose_rule,
    remove_optional_bias_from_gemm_rule,
)
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
    passes(model)


class _FoldConstants(ir.passes.InPlacePass):
    """Compute what is constant, with the exporter's own shapes."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        result = optimizer.fold_constants(model)
        return ir.passes.PassResult(model, modified=bool(result.modified))
