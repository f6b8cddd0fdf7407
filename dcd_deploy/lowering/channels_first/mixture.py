"""Σ π_m (W_m * x + b_m) ⊙ α_out in the branch order: M constant convolutions, weighed by π."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dcd_deploy.dynamic.operator import FILTERS, INPUTS, KERNELS, ConvGeometry, Mixture
from dcd_deploy.lowering.channels_first.parts import total
from dcd_deploy.lowering.layers import conv_of, linear_of


class MixtureBranch(nn.Module):
    """From a map (N, C, H, W) to (N, K, H', W'), or from (N, C) to (N, K).

    The kernels of a dense 1×1 layer are one convolution, which one product with π weighs.
    """

    def __init__(self, term: Mixture, g: ConvGeometry) -> None:
        super().__init__()
        self.geometry, bank, bias = g, term.bank, term.bias
        if g.vector:
            self.joint: nn.Module | None = linear_of(
                bank.flatten(2).flatten(0, 1), None if bias is None else bias.flatten()
            )
        elif g.pointwise:
            self.joint = conv_of(bank.flatten(0, 1), None if bias is None else bias.flatten(), g.stride)
        else:
            self.joint = None
            biases = [None] * len(bank) if bias is None else list(bias)
            convs = (
                conv_of(weight, shift, g.stride, g.padding, g.groups, g.dilation, g.padding_mode)
                for weight, shift in zip(bank, biases, strict=True)
            )
            self.convs = nn.ModuleList(convs)

    def forward(self, x: Tensor, heads: Mapping[str, Tensor]) -> Tensor:
        if (inputs := heads.get(INPUTS)) is not None:
            x = x * self._over_map(inputs)
        y = self._mixed(x, heads[KERNELS])
        return y * self._over_map(heads[FILTERS]) if FILTERS in heads else y

    def _mixed(self, x: Tensor, mix: Tensor) -> Tensor:
        if self.joint is not None:
            y = self.joint(x)
            rows = y.reshape(y.shape[0], mix.shape[1], -1)
            joint: Tensor = torch.matmul(mix[:, None, :], rows).reshape(y.shape[0], self.geometry.K, *y.shape[2:])
            return joint
        return total([conv(x) * mix[:, m, None, None, None] for m, conv in enumerate(self.convs)])

    def _over_map(self, values: Tensor) -> Tensor:
        return values if self.geometry.vector else values[:, :, None, None]
