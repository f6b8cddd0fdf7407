"""Conditionally parametrised convolution (arXiv 1904.04971).

    y = W(x) * x + Σ_m r_m b_m       W(x) = Σ_m r_m W_m       r = sigmoid(fc g), or the operand (N, M) of the layer

As ``timm`` has it, the routing is made beside the layer, once for several of them, and its kernels are stored flat.
"""

from __future__ import annotations

import torch
from torch import nn

from dcd_deploy.dynamic.adapters.bank import Bank, banks, routes_itself, unsized
from dcd_deploy.dynamic.adapters.dy_conv import mixture, mixtures
from dcd_deploy.dynamic.adapters.norm_behind import with_norms
from dcd_deploy.dynamic.adapters.parts import is_dense
from dcd_deploy.dynamic.adapters.trunk import takes_operand, temperatures
from dcd_deploy.dynamic.attention import Activation, Attention, Dense
from dcd_deploy.dynamic.operator import KERNELS, DynamicOperator, OutsideError, Refusal

FAMILY = "condconv"
ROUTINGS = tuple(
    Activation(name, gain)
    for name, gain in (("sigmoid", 1.0), ("hardsigmoid", 1.0), ("sigmoid", 2.0), ("identity", 1.0))
)


def candidates(module: nn.Module) -> tuple[DynamicOperator, ...] | Refusal | None:
    """Return the operators that the module may be, most likely first; None where it is of another kind."""
    if routes_itself(module):
        return mixtures(FAMILY, module, ROUTINGS)
    weighed = takes_operand(module) or any(is_dense(part) for part in module.modules())
    if type(module).__module__.startswith("torch.nn.") or not weighed:
        return None
    if reason := unsized(module):
        return Refusal(FAMILY, reason)
    try:
        found = with_norms(module, banks(module)) if takes_operand(module) else ()
        return tuple(one for bank in found for one in _from_outside(module, bank)) or None
    except OutsideError as outside:
        return Refusal(FAMILY, str(outside))


def _from_outside(module: nn.Module, bank: Bank) -> list[DynamicOperator]:
    """Return the operators whose routing is an operand (N, M): as it comes, or behind a function."""
    heads: list[Dense | None] = [None]
    same = torch.eye(bank.count, dtype=torch.float64)
    heads += [Dense(same, None, Activation("softmax", temperature=one)) for one in temperatures(module)]
    heads += [Dense(same, None, one) for one in ROUTINGS[:-1]]
    return [mixture(FAMILY, bank, Attention(None, (), {KERNELS: head}, own=False)) for head in heads]
