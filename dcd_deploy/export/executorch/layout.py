"""Permutations that move nothing, taken out of what ExecuTorch's exporter hands to XNNPACK.

The delegate keeps maps channels last. A product along channels is written permute → linear → permute back
(``lowering.xnnpack``), and the exporter makes a transposition of each, and one more between layouts: passes over the
map that end where they began.

``sink_permutations``    permute(a) + permute(b) becomes permute(a + b), by the exporter's own interface
``without_moves``        a reader of moves that add up to none reads what was there before them

For the second the exporter has no interface: within it, its list of passes gets one more. That is an inside of the
versions in ``TRIED``; what comes out is a file as any other, for the runtime as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import fx

from dcd_deploy.errors import MissingDependencyError
from dcd_deploy.optional import require
from dcd_deploy.runtimes.litert import installed_version

PACKAGE, TRIED = "executorch", ("1.5.1",)
TO_LAST, TO_FIRST, SAME = (0, 2, 3, 1), (0, 3, 1, 2), (0, 1, 2, 3)
LAST = "XNN_NHWC_NODE"  # the exporter's own note on a node whose map lies channels last
PERMUTE, COPY = "aten.permute_copy.default", "aten._to_copy.default"
ELEMENTWISE = frozenset({f"aten.{name}" for name in ("add.Tensor", "sub.Tensor", "mul.Tensor")})
Order = tuple[int, ...]


def check_version() -> None:
    """Refuse a version of executorch whose insides are not those that ``without_moves`` knows.

    Raises:
        MissingDependencyError: it is another.
    """
    found = installed_version(PACKAGE)
    if found not in TRIED:
        raise MissingDependencyError(
            expected=f"{PACKAGE} {' or '.join(TRIED)}, in which the way to keep maps as they lie was tried",
            found=found,
            advice=f"run: pip install '{PACKAGE}=={TRIED[-1]}'",
        )


def sink_permutations(module: fx.GraphModule) -> Any:
    """Let sums and products of pixels that are permuted to maps be of pixels, and permute what comes out."""
    changed = False
    for node in list(module.graph.nodes):
        operands = [each for each in node.args if isinstance(each, fx.Node)]
        if _name(node) not in ELEMENTWISE or len(operands) < 2 or node.kwargs:
            continue
        if all(_name(each) == PERMUTE and _order(each.args[1]) == TO_FIRST for each in operands):
            _sink(module.graph, node, operands[0].target)
            changed = True
    if changed:
        module.graph.eliminate_dead_code()
        module.recompile()
    return require("torch.fx.passes.infra.pass_base").PassResult(module, changed)


def _sink(graph: fx.Graph, node: fx.Node, permute: Any) -> None:
    with graph.inserting_before(node):
        pixels = tuple(each.args[0] for each in node.args if isinstance(each, fx.Node))
        below = graph.create_node("call_function", node.target, pixels)
        below.meta = {**node.meta, "val": node.meta["val"].permute(TO_LAST).contiguous()}
        above = graph.call_function(permute, (below, list(TO_FIRST)))
        above.meta = dict(node.meta)
    node.replace_all_uses_with(above)
    graph.erase_node(node)


@contextmanager
def without_moves() -> Iterator[None]:
    """Let the exporter take out moves that add up to none while the block runs.

    Raises:
        MissingDependencyError: this version of executorch was not tried.
    """
    check_version()
    preprocess = require("executorch.backends.xnnpack.xnnpack_preprocess")
    one_pass = require("executorch.backends.xnnpack._passes.xnnpack_pass")
    results = require("torch.fx.passes.infra.pass_base")
    manager, base = "XNNPACKPassManager", vars(one_pass)["XNNPACKPass"]
    before = vars(preprocess)[manager]

    class WithoutMoves(base):  # type: ignore[misc,valid-type]  # a class that may be missing
        def call(self, module: fx.GraphModule) -> Any:
            return results.PassResult(module, take_out_moves(module))

    class PassManager(before):  # type: ignore[misc,valid-type]
        def __init__(self, program: Any, passes: Any = None) -> None:
            super().__init__(program, passes)
            self.passes: list[Any] = [*self.passes, WithoutMoves]

    setattr(preprocess, manager, PassManager)
    try:
        yield
    finally:
        setattr(preprocess, manager, before)


def take_out_moves(module: fx.GraphModule) -> bool:
    """Let each operator read what lay there before moves that end as they began; return whether there were any."""
    changed = False
    for node in list(module.graph.nodes):
        if node.op in ("placeholder", "output") or _move(node) is not None:
            continue
        for operand in list(node.all_input_nodes):
            if (source := _unmoved(operand)) is not operand:
                node.replace_input_with(operand, source)
                changed = True
    module.graph.eliminate_dead_code()
    module.recompile()
    return changed


def _unmoved(node: fx.Node) -> fx.Node:
    """Return the earliest node whose values lie as those of ``node`` do, in memory and in its sizes there."""
    unmoved, at = node, node
    total: Order = SAME
    while (order := _move(at)) is not None:
        total = tuple(order[axis] for axis in total)
        source = at.args[0]
        assert isinstance(source, fx.Node)
        at = source
        if total == SAME and _sizes(at) == _sizes(node):
            unmoved = at
    return unmoved


def _move(node: fx.Node) -> Order | None:
    """Return how a node permutes the axes of a map as it lies in memory; None where it does something else."""
    last = bool(node.meta.get(LAST))
    if _name(node) == COPY:
        source = node.args[0]
        assert isinstance(source, fx.Node)
        came_last = bool(source.meta.get(LAST))
        return SAME if last == came_last else TO_LAST if last else TO_FIRST
    if _name(node) != PERMUTE or len(order := _order(node.args[1])) != len(SAME):
        return None
    return tuple(TO_FIRST[order[axis]] for axis in TO_LAST) if last else order


def _order(axes: Any) -> Order:
    return tuple(int(axis) % len(axes) for axis in axes)


def _sizes(node: fx.Node) -> tuple[int, ...]:
    """Return the sizes of a value as they lie in memory."""
    sizes = tuple(node.meta["val"].shape)
    return tuple(sizes[axis] for axis in TO_LAST) if node.meta.get(LAST) else sizes


def _name(node: fx.Node) -> str:
    return str(getattr(node.target, "__name__", "")) if node.op == "call_function" else ""
