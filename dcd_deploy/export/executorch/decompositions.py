"""Which exported operators are written in others, since XNNPACK has no word for them: torch's own way to do that.

attention (N, H, L, E)                 →   products of batches of matrices (``self_attention``)
means, sums, maxima over other axes    →   windows (``reductions``), as are LayerNorm and log_softmax of them
x[:, 0], x[:, ::2], unbind, repeat     →   slices, reshapes, concatenations (``moves``)
pixels to channels, and back           →   reshapes and a permutation, whatever order x has in memory
borders that are copies                →   of columns and rows
x², √x, x to another power             →   products, a square root, exp and log
einsum, tensordot, GRU, LSTM           →   the products, sums and reshapes that torch makes of them
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx
from torch.utils._pytree import tree_map

from dcd_deploy.export.executorch import moves, reductions
from dcd_deploy.export.executorch.self_attention import attention

aten = torch.ops.aten
MOST_FACTORS = 8


def power(x: Tensor, exponent: float) -> Any:
    """Return x to a power: a product of few, a root, or exp(exponent · log(x)), right where x is not below 0."""
    if not x.dtype.is_floating_point:
        return NotImplemented
    if exponent in (0.5, -0.5):
        return torch.sqrt(x) if exponent > 0 else torch.rsqrt(x)
    if exponent != int(exponent):
        return torch.exp(torch.log(x) * exponent)
    return functools.reduce(torch.mul, [x] * int(exponent)) if 1 < exponent <= MOST_FACTORS else NotImplemented


FOREIGN: dict[Any, Callable[..., Any]] = {
    aten.scaled_dot_product_attention.default: attention,
    aten.mean.dim: reductions.mean,
    aten.sum.dim_IntList: reductions.total,
    aten.amax.default: reductions.largest,
    aten.amin.default: reductions.smallest,
    aten.max.dim: reductions.largest_alone,
    aten.min.dim: reductions.smallest_alone,
    aten.linalg_vector_norm.default: reductions.length,
    aten.var.correction: reductions.variance,
    aten.var.dim: lambda x, dim, unbiased=True, keepdim=False: reductions.variance(
        x, dim, correction=int(unbiased), keepdim=keepdim
    ),
    aten.std.dim: lambda x, dim, unbiased=True, keepdim=False: reductions.deviation(
        x, dim, correction=int(unbiased), keepdim=keepdim
    ),
    aten.std.correction: reductions.deviation,
    aten.logsumexp.default: reductions.log_sum,
    aten.log_softmax.int: reductions.log_softmax,
    aten.layer_norm.default: reductions.layer_norm,
    aten.adaptive_avg_pool2d.default: reductions.adaptive_average,
    aten.avg_pool2d.default: reductions.average,
    aten.adaptive_avg_pool1d.default: lambda x, output_size: (
        reductions.mean(x, [-1], keepdim=True) if list(output_size) == [1] else NotImplemented
    ),
    aten.select.int: moves.selected,
    aten.unbind.int: moves.unbound,
    aten.slice.Tensor: moves.sliced,
    aten.pad.default: moves.padded,
    aten.flip.default: moves.flipped,
    aten.roll.default: moves.rolled,
    aten.repeat.default: moves.repeated,
    aten.split.Tensor: moves.split,
    aten.split_with_sizes.default: moves.split,
    aten.unsafe_split.Tensor: moves.split,
    aten.pixel_shuffle.default: moves.shuffled,
    aten.pixel_unshuffle.default: moves.unshuffled,
    aten.expand.default: moves.expanded,
    aten.pow.Tensor_Scalar: power,
    aten.mm.default: lambda a, b: F.linear(a, b.t()),
}
COMPOSED = (  # of operators that may be among these
    aten.einsum.default,
    aten.gru.input,
    aten.lstm.input,
    aten.tensordot.default,
)
WITH_INDICES = (aten.max.dim, aten.min.dim)
BESIDE = {  # which the delegate takes alone, but not among these
    aten.unsqueeze.default: moves.with_one,
    aten.squeeze.dim: moves.without_one,
    aten.squeeze.dims: moves.without_one,
}


def decomposed(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Return a program without such operators; the same one where there are none, which saves tracing it again."""
    nodes = [node for node in program.graph.nodes if node.op == "call_function" and node.target in FOREIGN]
    composed = {node.target for node in program.graph.nodes if node.target in COMPOSED}
    table = FOREIGN | BESIDE
    for node in nodes:
        if node.target in WITH_INDICES and _reads_indices(node):
            table.pop(node.target, None)
    if composed:
        of_torch = torch.export.default_decompositions()
        table |= {target: of_torch[target] for target in composed}
    if not composed and not any(node.target in table and _is_foreign(node) for node in nodes):
        return program
    return program.run_decompositions(table)  # type: ignore[no-any-return]  # torch says nothing of it


def _is_foreign(node: fx.Node) -> bool:
    arguments, named = tree_map(
        lambda each: each.meta["val"] if isinstance(each, fx.Node) else each, (node.args, node.kwargs)
    )
    return FOREIGN[node.target](*arguments, **named) is not NotImplemented


def _reads_indices(node: fx.Node) -> bool:
    return any(user.args[1] == 1 and user.users for user in node.users)
