"""Which dynamic convolution a foreign module is: told by what it holds, believed only when proved.

    candidates(module)          parts → the operators that the module may be, or a refusal, or None
    recognise(module, args)     the one of them that equals the module (proof), or a refusal, or None
    is_another(module, args)    whether what was refused is no dynamic layer at all

The parts of a module do not tell all that it computes: gates, "+ q" and poolings are often written in its forward. So
an adapter gives every operator that the parts allow, the most likely first, and the proof picks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dcd_deploy.dynamic.adapters import FAMILIES
from dcd_deploy.dynamic.adapters.bank import might_mix
from dcd_deploy.dynamic.float64 import InFloat64
from dcd_deploy.dynamic.operator import DynamicOperator, Refusal
from dcd_deploy.dynamic.proof import prove

__all__ = ["Refusal", "candidates", "is_another", "recognise"]


def candidates(module: nn.Module) -> tuple[DynamicOperator, ...] | Refusal | None:
    """Return what the module may be, of all families; a refusal where none has a candidate and one tells why."""
    answers = [_answer(name, module) for name in FAMILIES]
    operators = [one for answer in answers if isinstance(answer, tuple) for one in answer]
    if operators:
        return tuple(operators)
    return next((answer for answer in answers if isinstance(answer, Refusal)), None)


def _answer(family: str, module: nn.Module) -> tuple[DynamicOperator, ...] | Refusal | None:
    try:
        return FAMILIES[family](module)
    except Exception as error:  # noqa: BLE001 - attributes of foreign modules may do anything; the layer stays as it is
        return Refusal(family, f"its parts cannot be read: {type(error).__name__}: {error}"[:300])


def recognise(module: nn.Module, args: tuple[Tensor, ...]) -> DynamicOperator | Refusal | None:
    """Return the canonical operator of the module, proved on inputs like ``args``: (x,) or (x, operand).

    None where the module is no dynamic convolution itself; a refusal where it looks like one and is not.
    """
    found = candidates(module)
    return prove(module, found, args) if isinstance(found, tuple) else found


def is_another(module: nn.Module, args: tuple[Tensor, ...]) -> bool:
    """Whether convolutions of the module that might be kernels read different maps: one stands behind the other.

    A block of two such convolutions and a layer of two outputs holds all that a mixture does. No user of it should be
    told that its block is no dynamic layer.
    """
    read: dict[nn.Module, list[Tensor]] = {conv: [] for convs in might_mix(module) for conv in convs}
    if not read:
        return False

    def note(part: nn.Module, given: tuple[Any, ...]) -> None:
        read[part] += [one for one in given if isinstance(one, Tensor)]

    handles = [conv.register_forward_pre_hook(note) for conv in read]
    try:
        with torch.no_grad(), InFloat64():
            module(*args)
    except Exception:  # noqa: BLE001 - a foreign module may fail in any way; then the refusal says what is known
        return False
    finally:
        for handle in handles:
            handle.remove()
    maps = [one for given in read.values() for one in given]
    return any(one.shape != maps[0].shape or not torch.equal(one, maps[0]) for one in maps[1:])
