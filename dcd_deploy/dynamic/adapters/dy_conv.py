"""Dynamic convolution by attention over kernels (arXiv 1912.03458).

    y = W(x) * x + Σ_m π_m b_m       W(x) = Σ_m π_m W_m       π = softmax(fc2(relu(fc1 g)) / T)

Dense, grouped or depthwise. Left to the proof: the function between the layers, T where several numbers may be it, a
padding that depends on the size of the map.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from torch import nn

from dcd_deploy.dynamic.adapters.bank import Bank, banks, routes_itself
from dcd_deploy.dynamic.adapters.norm_behind import with_norms
from dcd_deploy.dynamic.adapters.trunk import Routing, chained, temperatures
from dcd_deploy.dynamic.attention import Activation, Attention
from dcd_deploy.dynamic.operator import KERNELS, DynamicOperator, Mixture, OutsideError, Refusal

FAMILY = "dy_conv"
MOST, MOST_IN_ALL = 512, 4096  # candidates of one convolution, and of all that may be: the size of the output picks
WRITTEN = (30.0, 34.0, 31.0)  # temperatures that stand in a forward: the paper's, and those of usual code


def candidates(module: nn.Module) -> tuple[DynamicOperator, ...] | Refusal | None:
    """Return the operators that the module may be, most likely first; None where it is of another kind."""
    if not routes_itself(module):
        return None
    divisors = dict.fromkeys((*temperatures(module), *WRITTEN))
    return mixtures(FAMILY, module, tuple(Activation("softmax", temperature=one) for one in divisors))


def mixtures(
    family: str, module: nn.Module, routings: tuple[Activation, ...]
) -> tuple[DynamicOperator, ...] | Refusal | None:
    """Return the mixtures of the module's kernels by an attention that it holds, with each of the activations."""
    try:
        every = [_of_bank(family, bank, routing, routings) for bank, routing in routed(module, chained)]
    except OutsideError as outside:
        return Refusal(family, str(outside))
    return limited(every) or None


def routed(
    module: nn.Module, attention: Callable[[nn.Module, Bank], Routing | None]
) -> Iterator[tuple[Bank, Routing | None]]:
    """Yield the module's banks of kernels with their attention, which is read once for all guesses of a convolution.

    Raises:
        OutsideError: no bank has an attention that can be read; the first of them says why.
    """
    read: dict[object, Routing | OutsideError | None] = {}
    for bank in with_norms(module, banks(module)):
        key = (bank.geometry.C, bank.without)
        if key not in read:
            read[key] = _read(module, bank, attention)
        if not isinstance(found := read[key], OutsideError):
            yield bank, found
    outside = [one for one in read.values() if isinstance(one, OutsideError)]
    if outside and not any(isinstance(one, Routing) for one in read.values()):
        raise outside[0]


def _read(
    module: nn.Module, bank: Bank, attention: Callable[[nn.Module, Bank], Routing | None]
) -> Routing | OutsideError | None:
    try:
        return attention(module, bank)
    except OutsideError as outside:
        return outside


def limited(every: Iterable[Iterator[DynamicOperator]]) -> tuple[DynamicOperator, ...]:
    """Return the candidates, so many of each convolution and of all."""
    some = (itertools.islice(one, MOST) for one in every)
    return tuple(itertools.islice(itertools.chain.from_iterable(some), MOST_IN_ALL))


def _of_bank(
    family: str, bank: Bank, routing: Routing | None, activations: tuple[Activation, ...]
) -> Iterator[DynamicOperator]:
    if routing is None or [len(head.weight) for head in routing.heads.values()] != [bank.count]:
        return iter(())
    return _choices(family, bank, routing, activations)


def _choices(
    family: str, bank: Bank, routing: Routing, activations: tuple[Activation, ...]
) -> Iterator[DynamicOperator]:
    (head,) = routing.heads.values()
    for (pool, own), activation, stages in itertools.product(routing.sources, activations, routing.stages()):
        attention = Attention(pool, stages, {KERNELS: replace(head, activation=activation)}, own)
        yield mixture(family, bank, attention)


def mixture(family: str, bank: Bank, attention: Attention) -> DynamicOperator:
    """Return the operator of a bank and its attention."""
    return DynamicOperator(family, bank.geometry, attention, (Mixture(bank.kernels, bank.bias),), bank.outside)
