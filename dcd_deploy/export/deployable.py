"""What every format's tracing starts from: the deploy form in float32."""

from __future__ import annotations

import copy

import torch
from torch import nn

SMALLEST_NORMAL = torch.finfo(torch.float32).tiny


def deployable(network: nn.Module) -> nn.Module:
    """Return a float32 copy whose denormal weights are zero: they change nothing, and make processors slow."""
    single = copy.deepcopy(network).float().eval()
    with torch.no_grad():
        for weight in single.parameters():
            weight.masked_fill_(weight.abs() < SMALLEST_NORMAL, 0.0)
    return single
