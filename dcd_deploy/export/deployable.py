"""What every format's tracing starts from: the deploy form in float32."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

SMALLEST_NORMAL = torch.finfo(torch.float32).tiny


def deployable(network: nn.Module) -> nn.Module:
    """Return a float32 copy whose denormal weights are zero: they change nothing, and make processors slow."""
    # The memo tells deepcopy what each tensor becomes, so that no second copy in the network's own precision is made.
    memo: dict[int, object] = {id(weight): _parameter(weight) for weight in network.parameters()}
    memo |= {id(values): _single(values) for values in network.buffers()}
    return copy.deepcopy(network, memo).eval()


def _parameter(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(_single(weight), requires_grad=weight.requires_grad)


def _single(values: Tensor) -> Tensor:
    single = values.detach().to(torch.float32, copy=True) if values.is_floating_point() else values.clone()
    return single.masked_fill_(single.abs() < SMALLEST_NORMAL, 0.0)
