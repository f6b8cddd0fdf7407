"""The half order: λ' ⊙ (W0' * x) + (P' Φ') (Q' x) + bias(x).

P' and Φ' are multiplied first, so that one K×L kernel for each sample acts on the latent map; t1, t2 and t go into
bias(x).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dcd_deploy.models.deploy.channels_first.attention import Attention
from dcd_deploy.models.deploy.channels_first.parts import StaticAndQuery, per_sample_conv1x1
from dcd_deploy.models.deploy.fold import FoldedLayer, frozen, linear_of
from dcd_deploy.models.sizes import MapSize


class HalfForm(nn.Module):
    """A dynamic convolution in the half order; (N, C, H, W) to (N, K, H', W')."""

    def __init__(self, folded: FoldedLayer, size: MapSize) -> None:
        super().__init__()
        self.attention = Attention(folded, size.in_height, size.in_width)
        self.features = StaticAndQuery(folded, None)
        self.project = frozen(folded.project)
        self.shift = linear_of(folded.shift, folded.shift_bias)

    def forward(self, x: Tensor) -> Tensor:
        static, q = self.features(x)
        phi, scale, a = self.attention(x)
        half = torch.matmul(self.project, phi)  # (N, K, L)
        y: Tensor = static * scale[:, :, None, None] + per_sample_conv1x1(q, half, self.shift(a))
        return y
