"""The half order, channels last: (W0' * x) ⊙ λ' + (P' Φ') (Q' x) + bias(x), with (P' Φ')ᵀ = Φ'ᵀ P'ᵀ."""

from __future__ import annotations

from torch import Tensor, nn

from dcd_deploy.models.deploy.channels_last.attention import SIXTH, Attention
from dcd_deploy.models.deploy.channels_last.operators import batch_matmul
from dcd_deploy.models.deploy.channels_last.parts import conv, dense
from dcd_deploy.models.deploy.fold import FoldedLayer
from dcd_deploy.models.sizes import MapSize


class HalfForm(nn.Module):
    """A dynamic convolution in the half order; (N, H, W, C) to (N, H', W', K)."""

    def __init__(self, folded: FoldedLayer, size: MapSize) -> None:
        super().__init__()
        g = folded.geometry
        self.attention = Attention(folded, size.in_height, size.in_width, shifted=True)
        self.static = conv(folded.static * SIXTH, None, g.stride, g.padding)
        self.query = conv(folded.query[:, :, None, None], None, g.stride)
        self.project = dense(folded.project)

    def forward(self, x: Tensor) -> Tensor:
        phi, scale, bias = self.attention(x)
        half = self.project(phi)  # (N, 1, L, K)
        y: Tensor = self.static(x) * scale + (batch_matmul(self.query(x), half) + bias)
        return y
