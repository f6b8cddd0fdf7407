"""Copies of modules in one precision, in eval mode on the CPU, that share no tensor with what they are of.

Tensors that torch does not see, as plain attributes or in lists and dicts, go along: grids that a detection head keeps,
position biases that ``train`` gathers. What a module's own ``train``, ``double`` or ``cpu`` returns does not matter:
many that freeze a part return nothing.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

M = TypeVar("M", bound=nn.Module)


def copied_in(module: M, precision: torch.dtype) -> M:
    """Return a copy of a module in float64 or float32.

    Raises:
        Exception: whatever a ``__deepcopy__`` of its parts raises.
    """
    return settled_in(copy.deepcopy(module, unseen_in(module, precision)), precision)


def settled_in(module: M, precision: torch.dtype) -> M:
    """Bring a module itself to the CPU, to a precision and into eval mode; return it."""
    with torch.no_grad():  # what it gathers of its weights on the way has no history, and can be copied
        module.cpu()
        module.double() if precision == torch.float64 else module.float()
        return in_eval(module)


def in_eval(module: M) -> M:
    """Bring a module itself into eval mode; return it."""
    module.eval()
    return module


def unseen_in(module: nn.Module, precision: torch.dtype) -> dict[int, object]:
    """Return what becomes of tensors that torch does not copy to another precision, or at all, as deepcopy's memo.

    It does not see those that are plain attributes, or in lists and dicts that are, and copies none with a history.
    """
    owned = vars(nn.Module())  # of torch's own, whose tensors it sees
    values = [value for part in module.modules() for name, value in vars(part).items() if name not in owned]
    plain = [value for value in tree_leaves(values) if isinstance(value, Tensor)]
    plain += [buffer for buffer in module.buffers() if not buffer.is_leaf]
    return {id(value): _copied(value, precision) for value in plain}


def _copied(value: Tensor, precision: torch.dtype) -> Tensor:
    own = value.detach().cpu().clone()
    own = own.to(precision) if own.is_floating_point() else own
    return nn.Parameter(own, value.requires_grad) if isinstance(value, nn.Parameter) else own
