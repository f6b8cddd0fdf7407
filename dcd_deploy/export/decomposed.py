"""Exported graphs that are traced once, where a converter would trace them three times.

Both converters decompose operators by a table, which retraces the whole graph with tensors that have no data: most of
their time. A graph with none of the table's operators, and none that writes into its inputs, is decomposed already.
Some operators of the deploy forms, which litert-torch would decompose, are written as what they become, in place:

    relu6(x)             hardtanh(x, 0, 6)          reshape(x, s), flatten(x)    view(x, shape)
    pad(x, p, value)     constant_pad_nd(x, p, value)

and for both, since torch's exporter would write an Einsum, which no runtime has a quick kernel for,

    x.mT                 transpose(x, -2, -1)

Where an operator is left that a table might decompose, the converter does as it always does.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch._C import DispatchKey
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx import Node

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
