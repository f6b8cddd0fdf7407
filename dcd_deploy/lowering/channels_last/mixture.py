"""Σ π_m (W_m * x + b_m) ⊙ α_out in the branch order, channels last: M constant convolutions, weighed by π."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from dcd_deploy.dynamic.operator import FILTERS, INPUTS, KERNELS, ConvGeometry, Mixture
from dcd_deploy.lowering.channels_last.convolutions import on_maps
from dcd_deploy.lowering.layers import conv_of


class MixtureBranch(nn.Module):
    """From a map (N, H, W, C) to (N, H', W', K)."""

    def __init__(self, term: Mixture, g: ConvGeometry) -> None:
        super().__init__()
        biases = [None] * len(term.bank) if term.bias is None else list(term.bias)
        self.convs = nn.ModuleList(
            on_maps(conv_of(weight, bias, g.stride, g.padding, g.groups, g.dilation, g.padding_mode))
            for weight, bias in zip(term.bank, biases, strict=True)
        )

    def forward(self, x: Tensor, heads: Mapping[str, Tensor]) -> Tensor:
        if INPUTS in heads:
            x = x * heads[INPUTS]
        mix = heads[KERNELS]
        weighed = [conv(x) * mix[..., m : m + 1] for m, conv in enumerate(self.convs)]
        y: Tensor = weighed[0]
        for more in weighed[1:]:
            y = y + more
        return y * heads[FILTERS] if FILTERS in heads else y
