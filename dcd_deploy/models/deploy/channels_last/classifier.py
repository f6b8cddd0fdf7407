"""The dynamic classifier, channels last: on a vector the branch order is always the cheapest."""

from __future__ import annotations

from torch import Tensor, nn

from dcd_deploy.models.deploy.channels_last.attention import SIXTH, Attention
from dcd_deploy.models.deploy.channels_last.operators import batch_matmul
from dcd_deploy.models.deploy.channels_last.parts import dense
from dcd_deploy.models.deploy.fold import FoldedLayer


class DynamicClassifier(nn.Module):
    """(W0' x + b') ⊙ λ' + P' (Φ' (Q' x + t1)) + bias; features (N, 1, 1, C) to logits (N, K)."""

    def __init__(self, folded: FoldedLayer) -> None:
        super().__init__()
        assert folded.static_bias is not None
        self.attention = Attention(folded, 1, 1)
        self.static = dense(folded.static.flatten(1) * SIXTH, folded.static_bias * SIXTH)
        self.query = dense(folded.query, folded.query_bias)
        self.project = dense(folded.project, folded.bias)

    def forward(self, x: Tensor) -> Tensor:
        phi, scale, _ = self.attention(x)
        logits = self.static(x) * scale + self.project(batch_matmul(self.query(x), phi))
        flat: Tensor = logits.flatten(1)
        return flat
