"""Copies along sides of one, as products that broadcast.

XNNPACK has no operator that copies. TFLite has, but its converter (litert-torch) takes copies and a transposition
behind them together, and then reads the sides in the wrong order: the interpreter refuses that, or computes something
else. It does so with a product by ones too, which it sees through; not with two by minus one, which are as exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn

from dcd_deploy.lowering.graph import shape
from dcd_deploy.lowering.layers import frozen

COPYING = ("expand", "expand_as", "repeat")


def copied_sides(node: fx.Node) -> tuple[int, ...] | None:
    """Return how often a node copies each side of its operand, if that is all it does; None for a constant's copies."""
    operand = node.args[0] if node.args else None
    if not isinstance(operand, fx.Node) or not _is_computed(operand):
        return None
    before, after = shape(operand), shape(node)
    if before is None or after is None or len(before) != len(after):
        return None
    sides = list(zip(before, after, strict=True))
    return tuple(a if b == 1 else 1 for b, a in sides) if all(b in (1, a) for b, a in sides) else None


def _is_computed(node: fx.Node) -> bool:
    """Whether a value depends on the network's inputs."""
    seen, left = set[fx.Node](), [node]
    while left:
        one = left.pop()
        if one.op == "placeholder":
            return True
        left += [each for each in one.all_input_nodes if each not in seen]
        seen.update(one.all_input_nodes)
    return False


class Broadcast(nn.Module):
    """x → x, each side copied as often as ``copies`` says, of sides of one."""

    def __init__(self, copies: Sequence[int]) -> None:
        super().__init__()
        self.minus_ones = frozen(torch.full(tuple(copies), -1.0, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype.is_floating_point:
            return torch.neg(x) * self.minus_ones
        return x.expand([max(sides) for sides in zip(x.shape, self.minus_ones.shape, strict=True)])
