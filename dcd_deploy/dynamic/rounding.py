"""How far a module's answer moves where its inputs move by some roundings: what no comparison in float64 can tell."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

DISTURBANCE = 1e-15  # of an input: some roundings of float64


def disturbed(inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return inputs that have moved by some roundings of float64."""
    generator = torch.Generator().manual_seed(0)
    return tuple(
        values * (1 + DISTURBANCE * torch.randn(values.shape, dtype=values.dtype, generator=generator))
        for values in inputs
    )
