"""One file for each family: from a foreign module, by what it holds, to the canonical operators that it may be.

    candidates(module) -> tuple[DynamicOperator, ...]    holds the parts; most likely first, the proof picks
                        | Refusal                        holds them, but is outside the canonical operator
                        | None                           is of another kind

parts     tensors, convolutions, norms and activations, read from foreign modules
trunk     the stages of an attention
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from dcd_deploy.dynamic.adapters import dcd
from dcd_deploy.dynamic.operator import DynamicOperator
from dcd_deploy.dynamic.refusal import Refusal

Adapter = Callable[[nn.Module], tuple[DynamicOperator, ...] | Refusal | None]

FAMILIES: dict[str, Adapter] = {dcd.FAMILY: dcd.candidates}
