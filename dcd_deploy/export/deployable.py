"""What every format's tracing starts from: the deploy form in float32, whose activations make new maps.

An activation that writes into its input computes the same, but makes the exporters trace everything once more.
"""

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
    single = copy.deepcopy(network, memo).eval()
    for module in single.modules():
        if isinstance(getattr(module, "inplace", None), bool):
            module.inplace = False  # type: ignore[assignment]  # as torch's own modules call it
    return single


def _parameter(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(_single(weight), requires_grad=weight.requires_grad)


def _single(values: Tensor) -> Tensor:
    single = values.detach().to(torch.float32, copy=True) if values.is_floating_point() else values.clone()
    return single.masked_fill_(single.abs() < SMALLEST_NORMAL, 0.0)
