"""The attention of a folded layer: from its input to Φ', λ' and a'.

Both poolings are plain average pools. Adaptive pooling to 2×2 on n×n is AveragePool(kernel ⌈n/2⌉, stride ⌊n/2⌋) for n
≥ 2; at n = 1 it makes copies of the one value, so the columns of the squeeze that would meet equal values are added
up instead.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.models.deploy.fold import FoldedLayer, linear_of


class Attention(nn.Module):
    """Map x (N, C, H, W), or (N, C) at the classifier, to Φ' (N, L, L), λ' (N, K) and a' (N, S)."""

    def __init__(self, folded: FoldedLayer, height: int, width: int) -> None:
        super().__init__()
        g = self.geometry = folded.geometry
        rows, columns = min(g.pool, height), min(g.pool, width)
        squeeze = folded.squeeze.view(g.S, g.C, g.pool, g.pool)
        squeeze = squeeze.reshape(g.S, g.C, rows, -1, columns, g.pool // columns).sum((3, 5))
        self.kernel = (-(-height // rows), -(-width // columns))
        self.stride = (height // rows, width // columns)
        self.squeeze = linear_of(squeeze.flatten(1))
        self.gate = linear_of(folded.gate)
        self.phi = linear_of(folded.phi, folded.phi_bias)
        self.scale = linear_of(folded.scale)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        pooled = F.avg_pool2d(x, self.kernel, self.stride).flatten(1) if x.dim() == 4 else x
        a = self.squeeze(pooled)
        a = a * F.hardsigmoid(self.gate(a))
        phi: Tensor = self.phi(a)
        return phi.view(-1, self.geometry.L, self.geometry.L), F.hardsigmoid(self.scale(a)), a
