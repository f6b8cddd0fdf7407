"""Omni-dimensional dynamic convolution (arXiv 2209.07947): a mixture whose kernels are scaled along every axis.

    y = W(x) * x       W(x) = Σ_m π_m (α_tap ⊙ α_in ⊙ α_out ⊙ W_m)       all of them from one squeeze of the input

Each of the four may be missing, and is 1 then. Which head is which, their sizes tell, then their names, then the proof.
A temperature divides what goes into the functions of all heads; in front of a sigmoid it goes into the weights.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

from dcd_deploy.dynamic.adapters.bank import Bank, routes_itself
from dcd_deploy.dynamic.adapters.dy_conv import limited, mixture, routed
from dcd_deploy.dynamic.adapters.trunk import Routing, branched, temperatures
from dcd_deploy.dynamic.attention import Activation, Attention, Dense
from dcd_deploy.dynamic.operator import FILTERS, INPUTS, KERNELS, TAPS, DynamicOperator, OutsideError, Refusal

FAMILY = "odconv"
NAMES = {
    INPUTS: r"channel|(^|\.|_)in",
    FILTERS: r"filter|(^|\.|_)out",
    TAPS: r"spatial|tap|position",
    KERNELS: r"kernel|expert",
}
SCALES = tuple(
    Activation(name, gain)
    for name, gain in (
        ("sigmoid", 1.0),
        ("sigmoid", 2.0),
        ("hardsigmoid", 1.0),
        ("hardsigmoid", 2.0),
        ("identity", 1.0),
    )
)
Heads = dict[str, Dense]


def candidates(module: nn.Module) -> tuple[DynamicOperator, ...] | Refusal | None:
    """Return the operators that the module may be, most likely first; None where it is of another kind."""
    if not routes_itself(module):
        return None
    try:
        found = [
            _choices(module, bank, routing, roles)
            for bank, routing in routed(module, branched)
            if routing is not None
            for roles in _roles(bank, routing)
        ]
    except OutsideError as outside:
        return Refusal(FAMILY, str(outside))
    return limited(found) or None


def _roles(bank: Bank, routing: Routing) -> list[Heads]:
    """Return the best assignments of names to the heads; none where they are those of a plain mixture."""
    g = bank.geometry
    sizes = {INPUTS: g.C, FILTERS: g.K, TAPS: g.taps, KERNELS: bank.count}
    heads = routing.heads
    ways = [
        names
        for names in itertools.permutations(sizes, len(heads))
        if all(sizes[name] == len(head.weight) for name, head in zip(names, heads.values(), strict=True))
        and (KERNELS in names or bank.count == 1)
        and names != (KERNELS,)
    ]
    told = [sum(bool(re.search(NAMES[name], path)) for name, path in zip(way, heads, strict=True)) for way in ways]
    best = [way for way, count in zip(ways, told, strict=True) if count == max(told)]
    return [dict(zip(way, heads.values(), strict=True)) for way in best]


def _choices(module: nn.Module, bank: Bank, routing: Routing, roles: Heads) -> Iterator[DynamicOperator]:
    divisors = [(one, other) for one in temperatures(module) for other in dict.fromkeys((one, 1.0))]
    mixing = ("softmax", "sigmoid")
    choices = itertools.product(_biased(bank, roles), routing.sources, SCALES, mixing, divisors, routing.stages())
    for biased, (pool, own), scale, mix, (kernels, others), stages in choices:
        heads = {name: _scaled(head, scale, others) for name, head in roles.items() if name != KERNELS}
        heads[KERNELS] = _mixing(roles.get(KERNELS), routing, mix, kernels)
        yield mixture(FAMILY, biased, Attention(pool, stages, heads, own))


def _biased(bank: Bank, roles: Heads) -> list[Bank]:
    """Return the bank with a bias (K) outside of all heads, and with it inside of the filters' head."""
    if bank.outside is None or FILTERS not in roles:
        return [bank]
    return [bank, replace(bank, bias=bank.outside.expand(bank.count, -1), outside=None)]


def _scaled(head: Dense, activation: Activation, temperature: float) -> Dense:
    if temperature == 1.0:  # so that candidates share the weights
        return replace(head, activation=activation)
    bias = None if head.bias is None else head.bias / temperature
    return Dense(head.weight / temperature, bias, activation)


def _mixing(head: Dense | None, routing: Routing, mix: str, temperature: float) -> Dense:
    if head is None:  # of one kernel, which then has the weight 1
        inputs = next(iter(routing.heads.values())).weight.shape[1]
        return Dense(torch.zeros(1, inputs, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    if mix == "softmax":
        return replace(head, activation=Activation("softmax", temperature=temperature))
    return _scaled(head, Activation(mix), temperature)
