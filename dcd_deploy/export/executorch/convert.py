"""Deploy form → ExecuTorch program, by its own exporter and XNNPACK partitioner, as one partition or not at all.

What is left outside the partition runs by ExecuTorch's portable kernels, a hundred times slower; and each further
partition copies maps in and out. So either ends the export.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from dcd_deploy.artifacts import METADATA_KEY
from dcd_deploy.errors import ExportError
from dcd_deploy.export.deployable import without_stack_traces
from dcd_deploy.export.executorch.decompositions import decomposed
from dcd_deploy.export.executorch.layout import check_version, sink_permutations, without_moves
from dcd_deploy.export.executorch.scalars import spell_out_numbers
from dcd_deploy.export.executorch.views import merge_views
from dcd_deploy.export.refusal import advice, culprit, refused
from dcd_deploy.native_output import captured_native_output, without_remarks
from dcd_deploy.optional import require
from dcd_deploy.runtimes.pte_file import HASH_KEY, UNHASHED, with_hash
from dcd_deploy.samples import InputSpec

FORMAT_INSTEAD = ", or export `to` onnx or tflite"
DELEGATE, GETITEM = "executorch_call_delegate", "getitem"


def lower_executorch(single: nn.Module, inputs: Sequence[InputSpec], batch: int = 1) -> Any:
    """Lower the deploy form, in float32 (``deployable``), for one batch size; return the exporter's edge program.

    Raises:
        MissingDependencyError: executorch is not installed, or in a version that was not tried.
        ExportError: the exporter refused the network, or did not leave it in one partition.
    """
    with _quiet():
        exir = require("executorch.exir")
        check_version()
        examples = tuple(torch.zeros(batch, *each.shape) for each in inputs)
        try:
            with without_stack_traces(), without_moves():
                program = decomposed(torch.export.export(single, examples, strict=False))
                spell_out_numbers(program.graph)
                edge = exir.to_edge_transform_and_lower(
                    program, partitioner=[_partitioner()], transform_passes=[sink_permutations, merge_views]
                )
        except Exception as error:  # the exporter raises whatever its passes raise
            said = " ".join(str(error).split())[:300] or type(error).__name__
            raise refused("ExecuTorch's exporter", single, error, said, FORMAT_INSTEAD) from error
    check_one_partition(edge, single)
    return edge


def emit_executorch(edge: Any, description: str | None = None) -> bytes:
    """Return the file of a lowered program, with its description, and the hash of it all, as methods with a constant.

    That is ExecuTorch's own way to carry settings: an app reads them by executing the method ``dcd_deploy``.
    """
    exir = require("executorch.exir")
    texts = None if description is None else {METADATA_KEY: description, HASH_KEY: UNHASHED}
    with _quiet():
        named = exir.EdgeProgramManager(edge.exported_program(), texts, edge.compile_config)
        content: bytes = named.to_executorch().buffer
    return content if description is None else with_hash(content)


def check_one_partition(edge: Any, single: nn.Module) -> None:
    """Raise ExportError unless XNNPACK has taken everything, in one piece, of the program of a deploy form."""
    calls = [node for node in edge.exported_program().graph.nodes if node.op == "call_function"]
    names = Counter(_name(node) for node in calls)
    partitions = names.pop(DELEGATE, 0)
    names.pop(GETITEM, None)
    if partitions == 1 and not names:
        return
    outside = [culprit(single, node) for node in calls if _name(node) in names]
    left = ", ".join(f"{count} × {name}" for name, count in names.most_common(5)) or "no operator"
    first = f" (the first {outside[0].where})" if outside and outside[0].where else ""
    helps = advice(single, outside[0] if outside else None)
    raise ExportError(
        f"expected XNNPACK to take the whole network in one partition, found {partitions}, and {left} outside{first}; "
        f"such a file would be slow: {helps}{FORMAT_INSTEAD}"
    )


def _name(node: torch.fx.Node) -> str:
    return str(getattr(node.target, "__name__", node.target))


def _partitioner() -> Any:
    """Return XNNPACK's partitioner, which takes linear layers with a computed weight and bias too."""
    module = require("executorch.backends.xnnpack.partition.xnnpack_partitioner")
    configs = require("executorch.backends.xnnpack.partition.config").ALL_PARTITIONER_CONFIGS
    linear = require("executorch.backends.xnnpack.partition.config.gemm_configs").LinearConfig
    is_constant = require("executorch.backends.xnnpack.utils.utils").is_param_node

    class ComputedLinear(linear):  # type: ignore[misc,valid-type]  # a class that may be missing
        def _get_weight_deps(self, node: torch.fx.Node, program: Any, precision: Any) -> Any:
            if not is_constant(program, node.args[1]):
                return True, []
            return super()._get_weight_deps(node, program, precision)

        def _get_bias_deps(self, node: torch.fx.Node, program: Any, precision: Any) -> Any:
            if len(node.args) > 2 and node.args[2] is not None and not is_constant(program, node.args[2]):
                return True, []
            return super()._get_bias_deps(node, program, precision)

    return module.XnnpackPartitioner(configs=[ComputedLinear if each is linear else each for each in configs])


@contextmanager
def _quiet() -> Iterator[Callable[[], str]]:
    """Keep the exporter's remarks off the user's terminal, and the collector off its many small objects."""
    collects = gc.isenabled()
    gc.disable()
    try:
        with without_remarks(), captured_native_output() as remarks:
            yield remarks
    finally:
        if collects:
            gc.enable()
