"""The branch order, channels last: (W0' * x) ⊙ λ' + P' (Φ' (Q' x + t1)) + bias (arXiv 2103.08756, figure 2)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from dcd_deploy.models.deploy.channels_last.attention import SIXTH, Attention
from dcd_deploy.models.deploy.channels_last.operators import batch_matmul
from dcd_deploy.models.deploy.channels_last.parts import conv, dense
from dcd_deploy.models.deploy.fold import FoldedLayer
from dcd_deploy.models.deploy.form import Form, FormCost, attention_macs, static_macs
from dcd_deploy.models.geometry import LayerGeometry
from dcd_deploy.models.sizes import MapSize


class BranchForm(Form):
    """A dynamic convolution in the branch order; (N, H, W, C) to (N, H', W', K)."""

    name: ClassVar[str] = "branch"

    def __init__(self, folded: FoldedLayer, size: MapSize) -> None:
        super().__init__(folded, size)
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

    @classmethod
    def cost(cls, geometry: LayerGeometry, size: MapSize, *, activated: bool) -> FormCost:
        g, attention = geometry, attention_macs(geometry)
        x, y, u = g.C * size.inputs, g.K * size.outputs, g.L * size.outputs
        return FormCost(
            constant_macs=attention + static_macs(g, size) + g.L * g.C * size.outputs + g.L * y,
            computed_macs=g.L * u,
            map_floats=2 * x + 2 * u + 6 * y + 2 * y * activated,  # pooling, Q', Φ'; ⊙ λ', P', their sum, its clamp
            layout_floats=0,
            weight_floats=attention + g.kernel**2 * g.K * g.C + g.L * (g.C + g.K),
            nodes=13,
        )
