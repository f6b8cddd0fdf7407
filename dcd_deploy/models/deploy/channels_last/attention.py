"""The attention of a folded layer, channels last: from its input to Φ'ᵀ, λ' and bias(x).

The runtime's fused activation is relu6, so the gate is spelled relu6(v + 3) / 6: the 3 is a bias, and the 1/6 goes into
the weights behind it, where it meets the 2 of the fold.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.models.deploy.channels_last.operators import average_pool_2d
from dcd_deploy.models.deploy.channels_last.parts import conv, dense
from dcd_deploy.models.deploy.fold import FoldedLayer, pooled_squeeze

SIXTH = 1 / 6  # relu6(v + 3) · SIXTH = hardsigmoid(v)


class Attention(nn.Module):
    """Map x (N, H, W, C) to Φ'ᵀ (N, 1, L, L), 6 λ' (N, 1, 1, K) and, if ``shifted``, bias(x) (N, 1, 1, K)."""

    def __init__(self, folded: FoldedLayer, height: int, width: int, *, shifted: bool = False) -> None:
        super().__init__()
        g = self.geometry = folded.geometry
        squeeze, self.kernel, self.stride = pooled_squeeze(folded, height, width)
        self.squeeze = conv(squeeze)
        self.gate = dense(folded.gate, _threes(folded.gate))
        phi = folded.phi.view(g.L, g.L, g.S).transpose(0, 1).reshape(g.L * g.L, g.S)  # rows j·L + i: Φ transposed
        self.phi = dense(phi * SIXTH, folded.phi_bias)
        self.scale = dense(folded.scale * SIXTH, _threes(folded.scale))
        self.shift = dense(folded.shift * SIXTH, folded.shift_bias) if shifted else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        if self.kernel != (1, 1):
            x = average_pool_2d(x, self.kernel, self.stride)
        a = self.squeeze(x)
        a = a * F.relu6(self.gate(a))
        phi = self.phi(a).reshape(-1, 1, self.geometry.L, self.geometry.L)
        return phi, F.relu6(self.scale(a)), None if self.shift is None else self.shift(a)


def _threes(weight: Tensor) -> Tensor:
    return torch.full_like(weight[:, 0], 3.0)
