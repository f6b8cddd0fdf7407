"""The branch order, channels last: (W0' * x) ⊙ λ' + P' (Φ' (Q' x + t1)) + bias (arXiv 2103.08756, figure 2)."""

from __future__ import annotations

from torch import Tensor, nn

from dcd_deploy.models.deploy.channels_last.attention import SIXTH, Attention
from dcd_deploy.models.deploy.channels_last.operators import batch_matmul
from dcd_deploy.models.deploy.channels_last.parts import conv, dense
from dcd_deploy.models.deploy.fold import FoldedLayer
from dcd_deploy.models.sizes import MapSize


class BranchForm(nn.Module):
    """A dynamic convolution in the branch order; (N, H, W, C) to (N, H', W', K)."""

    def __init__(self, folded: FoldedLayer, size: MapSize) -> None:
        super().__init__()
        g = folded.geometry
        self.attention = Attention(folded, size.in_height, size.in_width)
        self.static = conv(folded.static * SIXTH, None, g.stride, g.padding)
        self.query = conv(folded.query[:, :, None, None], folded.query_bias, g.stride)
        self.project = dense(folded.project, folded.bias)

    def forward(self, x: Tensor) -> Tensor:
        phi, scale, _ = self.attention(x)
        mixed = batch_matmul(self.query(x), phi)  # (N, H', W', L)
        y: Tensor = self.static(x) * scale + self.project(mixed)
        return y
