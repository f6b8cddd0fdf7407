"""The branch order: λ' ⊙ (W0' * x) + P' (Φ' (Q' x + t1)) + bias, as the paper draws it (arXiv 2103.08756, figure 2).

Φ' acts on the small latent map, between constant convolutions by Q' and P'.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from dcd_deploy.models.deploy.channels_first.attention import Attention
from dcd_deploy.models.deploy.channels_first.parts import StaticAndQuery, per_sample_conv1x1
from dcd_deploy.models.deploy.fold import FoldedLayer, conv_of
from dcd_deploy.models.deploy.form import Form, FormCost, attention_macs, static_macs
from dcd_deploy.models.geometry import LayerGeometry
from dcd_deploy.models.sizes import MapSize


class BranchForm(Form):
    """A dynamic convolution in the branch order; (N, C, H, W) to (N, K, H', W')."""

    name: ClassVar[str] = "branch"

    def __init__(self, folded: FoldedLayer, size: MapSize) -> None:
        super().__init__(folded, size)
        self.attention = Attention(folded, size.in_height, size.in_width)
        self.features = StaticAndQuery(folded, folded.query_bias)
        self.project = conv_of(folded.project[:, :, None, None], folded.bias)

    def forward(self, x: Tensor) -> Tensor:
        static, q = self.features(x)
        phi, scale, _ = self.attention(x)
        y: Tensor = static * scale[:, :, None, None] + self.project(per_sample_conv1x1(q, phi))
        return y

    @classmethod
    def cost(cls, geometry: LayerGeometry, size: MapSize, *, activated: bool) -> FormCost:
        g, attention = geometry, attention_macs(geometry)
        x, y, u = g.C * size.inputs, g.K * size.outputs, g.L * size.outputs
        cut_off = 2 * (y + u) if g.kernel == 1 else 0
        return FormCost(
            constant_macs=attention + static_macs(g, size) + g.L * g.C * size.outputs + g.L * y,
            computed_macs=g.L * u,
            map_floats=x + cut_off + 2 * u + 6 * y + 2 * y * activated,  # ⊙ λ', P', their sum, the activation
            layout_floats=2 * y + 2 * u + y * activated,
            weight_floats=attention + g.kernel**2 * g.K * g.C + g.L * (g.C + g.K),
            nodes=15 + activated,
        )
