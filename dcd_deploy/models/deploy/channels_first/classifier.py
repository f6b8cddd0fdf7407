"""The dynamic classifier in deploy form: on a vector the branch order is always the cheapest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dcd_deploy.models.deploy.channels_first.attention import Attention
from dcd_deploy.models.deploy.fold import FoldedLayer, linear_of


class DynamicClassifier(nn.Module):
    """λ' ⊙ (W0' x + b') + P' (Φ' (Q' x + t1)) + bias; (N, C) to (N, K)."""

    def __init__(self, folded: FoldedLayer) -> None:
        super().__init__()
        self.attention = Attention(folded, 1, 1)
        self.static = linear_of(folded.static.flatten(1), folded.static_bias)
        self.query = linear_of(folded.query, folded.query_bias)
        self.project = linear_of(folded.project, folded.bias)

    def forward(self, x: Tensor) -> Tensor:
        phi, scale, _ = self.attention(x)
        mixed = torch.matmul(phi, self.query(x)[:, :, None]).squeeze(2)
        logits: Tensor = self.static(x) * scale + self.project(mixed)
        return logits
