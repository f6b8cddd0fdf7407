"""The half order: λ' ⊙ (W0' * x) + (P' Φ') (Q' x + t1) + bias.

P' and Φ' are multiplied first, so that one K×L kernel for each sample acts on the latent map.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from dcd_deploy.models.deploy.channels_first.attention import Attention
from dcd_deploy.models.deploy.channels_first.parts import StaticAndQuery, per_sample_conv1x1
from dcd_deploy.models.deploy.fold import FoldedLayer, frozen
from dcd_deploy.models.deploy.form import Form, FormCost, attention_macs, static_macs
from dcd_deploy.models.geometry import LayerGeometry
from dcd_deploy.models.sizes import MapSize


class HalfForm(Form):
    """A dynamic convolution in the half order; (N, C, H, W) to (N, K, H', W')."""

    name: ClassVar[str] = "half"

    def __init__(self, folded: FoldedLayer, size: MapSize) -> None:
        super().__init__(folded, size)
        self.attention = Attention(folded, size.in_height, size.in_width)
        self.features = StaticAndQuery(folded, folded.query_bias)
        self.project = frozen(folded.project)
        self.bias = frozen(folded.bias)

    def forward(self, x: Tensor) -> Tensor:
        static, q = self.features(x)
        phi, scale, _ = self.attention(x)
        half = torch.matmul(self.project, phi)  # (N, K, L)
        y: Tensor = static * scale[:, :, None, None] + per_sample_conv1x1(q, half, self.bias)
        return y

    @classmethod
    def cost(cls, geometry: LayerGeometry, size: MapSize, *, activated: bool) -> FormCost:
        g, attention = geometry, attention_macs(geometry)
        x, y, u = g.C * size.inputs, g.K * size.outputs, g.L * size.outputs
        cut_off = 2 * (y + u) if g.kernel == 1 else 0
        return FormCost(
            constant_macs=attention + static_macs(g, size) + g.L * g.C * size.outputs,
            computed_macs=g.K * g.L**2 + g.L * y,
            map_floats=x + cut_off + 6 * y + 2 * y * activated,  # ⊙ λ', V q, their sum, the activation
            layout_floats=y + u + y * activated,
            weight_floats=attention + g.kernel**2 * g.K * g.C + g.L * (g.C + 3 * g.K),
            nodes=16 + activated,
        )
