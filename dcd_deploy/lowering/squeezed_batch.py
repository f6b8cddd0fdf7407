"""Networks whose outputs lose the batch where it is one: pool(x).squeeze() is (C) then, in place of (1, C).

They get it back, so that a file gives for one input what it is for several, with a batch in front.
"""

from __future__ import annotations

from typing import Any

from torch import Size, Tensor, nn, no_grad
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from dcd_deploy.dynamic.float64 import InFloat64

NOTE = "for one input the network squeezes its batch away; in the file the outputs keep it"


def with_batch(module: nn.Module, examples: tuple[Tensor, ...], outputs: list[Tensor]) -> bool:
    """Let a network of ours keep the batch in its outputs; return whether it did not. ``outputs`` are for ``examples``.

    A network that takes one input alone stays as it is.
    """
    n = len(examples[0])
    if n == 1 and all(len(values.shape) > 0 and values.shape[0] == 1 for values in outputs):
        return False
    others = tuple(each[:1] if n > 1 else each.repeat(2, *[1] * (each.dim() - 1)) for each in examples)
    try:
        with no_grad(), InFloat64():
            shapes = [leaf.shape for leaf in tree_leaves(module(*others)) if isinstance(leaf, Tensor)]
    except Exception:  # noqa: BLE001 - whatever a module for one input, or for several alone, raises
        return False
    given = [values.shape for values in outputs]
    alone, several = (given, shapes) if n == 1 else (shapes, given)
    if len(alone) != len(several):
        return False
    lost = [one if (max(n, 2), *one) == many else None for one, many in zip(alone, several, strict=True)]
    if all(each is None for each in lost):
        return False
    module.__class__ = _keeping(type(module), lost)
    return True


def _keeping(kind: type[nn.Module], sizes: list[Size | None]) -> type[nn.Module]:
    """Return a class like ``kind`` whose outputs are of these sizes behind the batch; None stays as it is."""

    class Keeping(kind):  # type: ignore[misc,valid-type]  # a class that is a value
        def forward(self, *inputs: Tensor) -> Any:
            leaves, spec = tree_flatten(super().forward(*inputs))
            places = iter(sizes)
            kept = [leaf if leaf is None else _of_size(leaf, inputs[0], next(places)) for leaf in leaves]
            return tree_unflatten(kept, spec)

    Keeping.__name__, Keeping.__qualname__, Keeping.__module__ = kind.__name__, kind.__qualname__, kind.__module__
    return Keeping


def _of_size(values: Any, x: Any, size: Size | None) -> Any:
    return values if size is None else values.reshape(x.shape[0], *size)
