"""A norm behind a mixture, in the same module: it goes into the kernels, s ⊙ W_m, and into the biases.

Which norm stands there, the sizes do not always tell, as an attention may hold one of the same size. So the bank
without a norm comes first, then one for each norm of K channels that is the module's own child; the proof picks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from torch import Tensor, nn

from dcd_deploy.dynamic.adapters.bank import Bank
from dcd_deploy.dynamic.adapters.parts import children_of, is_norm, norm_affine
from dcd_deploy.dynamic.operator import OutsideError


def with_norms(module: nn.Module, banks: Iterable[Bank]) -> Iterator[Bank]:
    """Yield the banks, then the same with a norm behind them."""
    plain = list(banks)
    yield from plain
    for name, child in children_of(module).items():
        if not is_norm(child):
            continue
        try:
            scale, shift = norm_affine(name, child)
        except OutsideError:  # of which the attention's reading says more
            continue
        kernels: dict[int, Tensor] = {}  # guesses of a convolution share them
        for bank in plain:
            if len(scale) == bank.geometry.K:
                key = id(bank.kernels)
                if key not in kernels:
                    kernels[key] = scale[:, None, None, None] * bank.kernels
                yield _normed(bank, name, kernels[key], scale, shift)


def _normed(bank: Bank, name: str, kernels: Tensor, scale: Tensor, shift: Tensor) -> Bank:
    return replace(
        bank,
        kernels=kernels,
        bias=None if bank.bias is None else scale * bank.bias,
        outside=shift if bank.outside is None else scale * bank.outside + shift,
        without=(*bank.without, name),
    )
