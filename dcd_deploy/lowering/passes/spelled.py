"""Functions of torch in others that mean the same at any batch size, with the same arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, fx

from dcd_deploy.lowering.graph import op_name, shape

COUNTED = {"ortho": -0.5, "forward": -1.0}  # how a transform is divided → by which power of its length


def is_chunk_of_batch(node: fx.Node) -> bool:
    """Whether a node cuts the batch into as many parts as go into it."""
    if node.op not in ("call_function", "call_method") or op_name(node) != "chunk":
        return False
    sides = shape(node.all_input_nodes[0])
    given = dict(zip(("chunks", "dim"), node.args[1:], strict=False)) | node.kwargs
    count, axis = given.get("chunks"), given.get("dim", 0)
    return sides is not None and type(axis) is int and axis == 0 and type(count) is int and sides[0] % count == 0


def chunked(x: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Return ``chunk`` of what it divides without a rest."""
    size = x.shape[dim] // chunks
    return tuple(x[i * size : (i + 1) * size] for i in range(chunks))


def is_normed_spectrum(node: fx.Node) -> bool:
    """Whether a node is a Fourier transform of real numbers, divided by its length or the root of that."""
    if node.op != "call_function" or op_name(node) != "fft_rfft":
        return False
    return (dict(zip(("n", "dim", "norm"), node.args[1:], strict=False)) | node.kwargs).get("norm") in COUNTED


def spectrum(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:  # noqa: A002 - torch's
    """Return ``fft.rfft``, of numbers that are divided before."""
    count = input.shape[dim] if n is None else n
    found: Tensor = torch.fft.rfft(input * float(count) ** COUNTED.get(norm or "", 0.0), n, dim)
    return found


def is_einsum_of_several(node: fx.Node) -> bool:
    """Whether a node is an einsum of three tensors or more, of indices that are all named."""
    if node.op != "call_function" or op_name(node) != "einsum" or not node.args or not isinstance(node.args[0], str):
        return False
    named = "->" in node.args[0] and "..." not in node.args[0]
    return named and len(node.all_input_nodes) > 2


def pairwise(equation: str, *operands: Tensor | Sequence[Tensor]) -> Tensor:
    """Return ``einsum``, from left to right: each product keeps what later ones, or the result, ask for."""
    tensors = [each for one in operands for each in ([one] if isinstance(one, Tensor) else one)]
    left, _, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    found, indices = tensors[0], terms[0]
    for i, (tensor, term) in enumerate(zip(tensors[1:], terms[1:], strict=True), 2):
        asked = set(result).union(*terms[i:])
        kept = result if i == len(terms) else "".join(dict.fromkeys(each for each in indices + term if each in asked))
        found, indices = torch.einsum(f"{indices},{term}->{kept}", found, tensor), kept
    return found


def spelling_of(node: fx.Node) -> Callable[..., Tensor] | None:
    """Return the function that stands for a node's for any batch, if there is one."""
    if is_einsum_of_several(node):
        return pairwise
    return spectrum if is_normed_spectrum(node) else None
