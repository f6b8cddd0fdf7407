"""The attention of a folded layer: from its input to Φ', λ' and a'."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.models.deploy.fold import FoldedLayer, linear_of, pooled_squeeze


class Attention(nn.Module):
    """Map x (N, C, H, W), or (N, C) at the classifier, to Φ' (N, L, L), λ' (N, K) and a' (N, S)."""

    def __init__(self, folded: FoldedLayer, height: int, width: int) -> None:
        super().__init__()
        self.geometry = folded.geometry
        squeeze, self.kernel, self.stride = pooled_squeeze(folded, height, width)
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
