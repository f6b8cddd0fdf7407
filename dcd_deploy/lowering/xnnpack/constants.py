"""Constants of whole numbers beside tensors, of fewer axes, and lists of channels: XNNPACK takes neither.

y * torch.tensor(2), y + torch.arange(6).view(6, 1, 1)   →   the same numbers as floats
y of five axes + a bias of four                          →   the bias with five
y[:, [2, 1, 0]]                                          →   slices of y, side by side
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, fx

from dcd_deploy.lowering.graph import NetworkGraph, constant_of, copy_meta, is_getitem, op_name, shape
from dcd_deploy.lowering.layers import frozen

ARITHMETIC = ("add", "sub", "mul", "div", "rsub")
MAP = 4  # dimensions
FOLLOWED = ("view", "reshape", "unsqueeze", "expand", "expand_as", "permute", "flatten", "squeeze")


def whole_as_floats(graph: NetworkGraph) -> int:
    """Make floats of whole numbers that are only added to tensors, or multiplied with them; return of how many."""
    changed = 0
    for node in list(graph.nodes):
        if node.op != "get_attr":
            continue
        value = constant_of(graph, node)
        if (
            not isinstance(value, Tensor)
            or value.dtype.is_floating_point
            or value.dtype in (torch.bool, torch.complex64)
        ):
            continue
        if all(_is_arithmetic(user, source) for user, source in _ends(node)):
            made = graph.module
            free = f"{node.name}_float"
            made.register_parameter(free, frozen(value.double()))
            node.target = free
            changed += 1
    return changed


def _ends(node: fx.Node) -> Iterator[tuple[fx.Node, fx.Node]]:
    """Yield what reads a constant, behind what only reshapes it, and the node that it reads."""
    for user in node.users:
        if user.op == "call_method" and op_name(user) in FOLLOWED and user.args[0] is node:
            yield from _ends(user)
        else:
            yield user, node


def _is_arithmetic(user: fx.Node, constant: fx.Node) -> bool:
    """Whether a node reckons with a constant and a tensor that is none."""
    others = [each for each in user.all_input_nodes if each is not constant]
    return op_name(user) in ARITHMETIC and len(others) == 1 and others[0].op != "get_attr"


def taking(node: fx.Node) -> tuple[int, list[int]] | None:
    """Return the side and the places of a node that takes several of them in any order; None of any other node."""
    index = node.args[1] if is_getitem(node) else None
    index = index if isinstance(index, tuple) else (index,)
    lists = [(dim, each) for dim, each in enumerate(index) if isinstance(each, list)]
    if len(lists) != 1 or any(each != slice(None) for each in index if not isinstance(each, list)):
        return None
    (dim, places), whole = lists[0], all(type(place) is int for place in lists[0][1])
    return (dim, places) if dim > 0 and whole and places else None


def taken(x: Tensor, dim: int, places: Sequence[int]) -> Tensor:
    """Return x[:, places] of a side ``dim``: each run of places is a slice."""
    places = [place % x.shape[dim] for place in places]
    starts = [0, *(at + 1 for at, (one, next_one) in enumerate(pairwise(places)) if next_one != one + 1), len(places)]
    runs = [x.narrow(dim, places[start], end - start) for start, end in pairwise(starts)]
    return torch.cat(runs, dim) if len(runs) > 1 else runs[0]


def of_equal_rank(graph: NetworkGraph) -> int:
    """Reshape what is added to more axes than four, or multiplied with them, to as many; return how often.

    XNNPACK (of ExecuTorch 1.5) refuses that when it runs, for three axes and four it does not.
    """
    changed = 0
    for node in list(graph.nodes):
        sides = shape(node)
        if op_name(node) not in ARITHMETIC or sides is None or len(sides) <= MAP:
            continue
        for operand in node.all_input_nodes:
            fewer = shape(operand)
            if fewer is not None and 0 < len(fewer) < len(sides):
                whole = (*(1,) * (len(sides) - len(fewer)), *fewer)
                with graph.module.graph.inserting_before(node):
                    made = _reshaped(graph, operand, whole)
                node.replace_input_with(operand, copy_meta(operand, made, shape=whole))
                changed += 1
    return changed


def _reshaped(graph: NetworkGraph, operand: fx.Node, sides: Sequence[int]) -> fx.Node:
    """Return a node of another shape; a constant of four axes the exporter would take for a map, and turn."""
    if operand.op != "get_attr":
        return graph.module.graph.call_method("reshape", (operand, *sides))
    free = f"{operand.name}_of_{len(sides)}"
    graph.module.register_parameter(free, frozen(constant_of(graph, operand).reshape(sides)))
    return graph.module.graph.get_attr(free)
