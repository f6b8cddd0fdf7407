"""Adaptive average pooling to a few cells, as pooling by windows of one size where it is that, else as a matrix.

Cell i of n on a side of s pixels averages those from ⌊i s / n⌋ to ⌈(i + 1) s / n⌉. For n = 2 ≤ s these are windows of
⌈s / 2⌉ pixels, ⌊s / 2⌋ apart. Where s divides n, neighbouring cells are copies of one value; the columns of the weights
that would meet them are added up instead.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dcd_deploy.dynamic.attention import Attention, Dense, Gated
from dcd_deploy.dynamic.operator import DynamicOperator
from dcd_deploy.dynamic.shape import MapSize


def cell(i: int, cells: int, side: int) -> tuple[int, int]:
    """Return the first pixel of a cell, and the one behind its last."""
    return i * side // cells, -(-(i + 1) * side // cells)


def windows(cells: int, side: int) -> tuple[int, int] | None:
    """Return the size of all windows, and how far they are apart; None where they differ."""
    bounds = [cell(i, cells, side) for i in range(cells)]
    size, step = bounds[0][1], bounds[1][0] if cells > 1 else side
    uniform = step > 0 and all(bound == (i * step, i * step + size) for i, bound in enumerate(bounds))
    return (size, step) if uniform and (side - size) // step + 1 == cells else None


def distinct(cells: int, side: int) -> int:
    """Return how many cells have to be computed: ``side`` where it divides them, and the others are copies."""
    return side if side < cells and cells % side == 0 else cells


def pooling_matrix(pool: tuple[int, int], height: int, width: int, example: Tensor) -> Tensor:
    """Return the weights (rows·columns, height·width) by which pixels make cells."""
    sides = []
    for cells, side in zip(pool, (height, width), strict=True):
        matrix = example.new_zeros(cells, side)
        for i in range(cells):
            first, behind = cell(i, cells, side)
            matrix[i, first:behind] = 1 / (behind - first)
        sides.append(matrix)
    return torch.kron(*sides)


def without_copies(operator: DynamicOperator, size: MapSize) -> DynamicOperator:
    """Return the operator with ``distinct_cells``, so that all that reads the pooled values agrees on their number."""
    attention = operator.attention
    if attention.pool is None or not attention.own or operator.geometry.vector:
        return operator
    return replace(operator, attention=distinct_cells(attention, size.in_height, size.in_width))


def distinct_cells(attention: Attention, height: int, width: int) -> Attention:
    """Return the same attention to a map of height×width that pools to no copies, if weights can take them together."""
    assert attention.pool is not None
    kept = (distinct(attention.pool[0], height), distinct(attention.pool[1], width))
    first = attention.stages[0] if attention.stages else None
    if kept == attention.pool or isinstance(first, Gated):
        return attention
    if isinstance(first, Dense):
        stage = replace(first, weight=_taken_together(first.weight, attention.pool, kept))
        return replace(attention, pool=kept, stages=(stage, *attention.stages[1:]))
    heads = {}
    for name, head in attention.heads.items():
        if head is None:
            return attention
        heads[name] = replace(head, weight=_taken_together(head.weight, attention.pool, kept))
    return replace(attention, pool=kept, heads=heads)


def _taken_together(weight: Tensor, pool: tuple[int, int], kept: tuple[int, int]) -> Tensor:
    """Return weights (S, C·rows·columns) for fewer cells."""
    (rows, columns), (some_rows, some_columns) = pool, kept
    grid = weight.reshape(len(weight), -1, some_rows, rows // some_rows, some_columns, columns // some_columns)
    return grid.sum((3, 5)).flatten(1)
