"""The branch order: λ' ⊙ (W0' * x) + P' (Φ' (Q' x + t1)) + bias, as the paper draws it (arXiv 2103.08756, figure 2).

Φ' acts on the small latent map, between constant convolutions by Q' and P'.
"""

from __future__ import annotations

from torch import Tensor, nn

from dcd_deploy.models.deploy.channels_first.attention import Attention
from dcd_deploy.models.deploy.channels_first.parts import StaticAndQuery, per_sample_conv1x1
from dcd_deploy.models.deploy.fold import FoldedLayer, conv_of
from dcd_deploy.models.sizes import MapSize


class BranchForm(nn.Module):
    """A dynamic convolution in the branch order; (N, C, H, W) to (N, K, H', W')."""

    def __init__(self, folded: FoldedLayer, size: MapSize) -> None:
        super().__init__()
        self.attention = Attention(folded, size.in_height, size.in_width)
        self.features = StaticAndQuery(folded, folded.query_bias)
        self.project = conv_of(folded.project[:, :, None, None], folded.bias)

    def forward(self, x: Tensor) -> Tensor:
        static, q = self.features(x)
        phi, scale, _ = self.attention(x)
        y: Tensor = static * scale[:, :, None, None] + self.project(per_sample_conv1x1(q, phi))
        return y
