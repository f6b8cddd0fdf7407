"""Σ π_m (W_m * x + b_m) ⊙ α_out in the branch order, channels last: M constant convolutions, weighed by π.

Of shares that sum to one the first is not needed: Σ π_m y_m = y_0 + Σ_{m>0} π_m (y_m − y_0), where the differences are
those of the kernels. That is a pass over the output less.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dcd_deploy.dynamic.operator import FILTERS, INPUTS, KERNELS, ConvGeometry, Mixture
from dcd_deploy.lowering.channels_last.convolutions import on_maps
from dcd_deploy.lowering.layers import conv_of


class MixtureBranch(nn.Module):
    """From a map (N, H, W, C) to (N, H', W', K)."""

    def __init__(self, term: Mixture, g: ConvGeometry, *, sum_to_one: bool = False) -> None:
        super().__init__()
        self.unweighed = int(sum_to_one)
        bank, bias = (from_first(v) if sum_to_one and v is not None else v for v in (term.bank, term.bias))
        assert bank is not None
        biases = [None] * len(bank) if bias is None else list(bias)
        self.convs = nn.ModuleList(
            on_maps(conv_of(weight, bias, g.stride, g.padding, g.groups, g.dilation, g.padding_mode))
            for weight, bias in zip(bank, biases, strict=True)
        )

    def forward(self, x: Tensor, heads: Mapping[str, Tensor]) -> Tensor:
        if INPUTS in heads:
            x = x * heads[INPUTS]
        mix, convs = heads[KERNELS], enumerate(self.convs)
        weighed = [conv(x) if m < self.unweighed else conv(x) * mix[..., m : m + 1] for m, conv in convs]
        y: Tensor = weighed[0]
        for more in weighed[1:]:
            y = y + more
        return y * heads[FILTERS] if FILTERS in heads else y


def from_first(values: Tensor) -> Tensor:
    """Return the first of M values (M, …), and how much the others are more."""
    return torch.cat([values[:1], values[1:] - values[:1]])
