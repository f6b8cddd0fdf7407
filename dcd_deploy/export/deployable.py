"""What every format's tracing starts from: the deploy form in float32, whose activations make new maps.

An activation that writes into its input computes the same, but makes the exporters trace everything once more.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from dcd_deploy.artifacts import FLOAT32
from dcd_deploy.errors import VerificationError
from dcd_deploy.export.rounding import largest_step, rounded

SMALLEST_NORMAL = torch.finfo(torch.float32).tiny


def deployable(network: nn.Module, weights: str = FLOAT32) -> nn.Module:
    """Return a float32 copy whose denormal weights are zero: they change nothing, and make processors slow.

    Large weights are those that can be stored as ``weights`` (``rounding``).
    """
    # The memo tells deepcopy what each tensor becomes, so that no second copy in the network's own precision is made.
    memo: dict[int, object] = {id(weight): _parameter(weight) for weight in network.parameters()}
    memo |= {id(values): _single(values) for values in network.buffers()}
    single = copy.deepcopy(network, memo).eval()
    for module in single.modules():
        if isinstance(getattr(module, "inplace", None), bool):
            module.inplace = False  # type: ignore[assignment]  # as torch's own modules call it
    if weights != FLOAT32:
        _round(single, weights)
    return single


def _round(single: nn.Module, weights: str) -> None:
    """Round the large weights of a float32 network, in place.

    Raises:
        VerificationError: one has moved further than rounding can move it.
    """
    for name, values in (*single.named_parameters(), *single.named_buffers()):
        if values.dtype == torch.float32:
            before = values.detach().numpy()
            if (after := rounded(before, weights)) is before:
                continue
            step = float(abs(after - before).max()) / max(float(abs(before).max()), SMALLEST_NORMAL)
            if not step <= largest_step(weights):
                raise VerificationError(
                    f"rounding '{name}' to {weights} moved a weight by {step:.1e} of the largest, and "
                    f"{largest_step(weights):.1e} is allowed; this is a defect, please report it"
                )
            values.data = torch.from_numpy(after.copy())


def _parameter(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(_single(weight), requires_grad=weight.requires_grad)


def _single(values: Tensor) -> Tensor:
    single = values.detach().to(torch.float32, copy=True) if values.is_floating_point() else values.clone()
    return single.masked_fill_(single.abs() < SMALLEST_NORMAL, 0.0)
