"""One file for each family: from a foreign module, by what it holds, to the canonical operators that it may be.

    candidates(module) -> tuple[DynamicOperator, ...]    holds the parts; most likely first, the proof picks
                        | Refusal                        holds them, but is outside the canonical operator
                        | None                           is of another kind

dcd        by matrix decomposition; dcd_roles tells its parts apart, dcd_branches opens its heads
dy_conv    attention over kernels;  condconv  the same with a sigmoid, or routed from outside;  odconv  over every axis
bank       the kernels of a mixture;  settings  their convolution: what is said of it, and guesses;  norm_behind  a norm
trunk      the stages of an attention
parts      tensors, convolutions, norms and activations, read from foreign modules
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from dcd_deploy.dynamic.adapters import condconv, dcd, dy_conv, odconv
from dcd_deploy.dynamic.operator import DynamicOperator, Refusal

Adapter = Callable[[nn.Module], tuple[DynamicOperator, ...] | Refusal | None]

FAMILIES: dict[str, Adapter] = {family.FAMILY: family.candidates for family in (dcd, dy_conv, condconv, odconv)}
