"""The half order, channels last: (W0' * x) ⊙ λ' + (P' Φ') (Q' x + t1) + bias, with (P' Φ')ᵀ = Φ'ᵀ P'ᵀ."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from dcd_deploy.models.deploy.channels_last.attention import SIXTH, Attention
from dcd_deploy.models.deploy.channels_last.operators import batch_matmul
from dcd_deploy.models.deploy.channels_last.parts import conv, dense
from dcd_deploy.models.deploy.fold import FoldedLayer, frozen
from dcd_deploy.models.deploy.form import Form, FormCost, attention_macs, static_macs
from dcd_deploy.models.geometry import LayerGeometry
from dcd_deploy.models.sizes import MapSize


class HalfForm(Form):
    """A dynamic convolution in the half order; (N, H, W, C) to (N, H', W', K)."""

    name: ClassVar[str] = "half"
    only_for: ClassVar[tuple[str, ...] | None] = ("litert",)

    def __init__(self, folded: FoldedLayer, size: MapSize) -> None:
        super().__init__(folded, size)
        g = folded.geometry
        self.attention = Attention(folded, size.in_height, size.in_width)
        self.static = conv(folded.static * SIXTH, None, g.stride, g.padding)
        self.query = conv(folded.query[:, :, None, None], folded.query_bias, g.stride)
        self.project = dense(folded.project)
        self.bias = frozen(folded.bias)

    def forward(self, x: Tensor) -> Tensor:
        phi, scale, _ = self.attention(x)
        half = self.project(phi)  # (N, 1, L, K)
        y: Tensor = self.static(x) * scale + (batch_matmul(self.query(x), half) + self.bias)
        return y

    @classmethod
    def cost(cls, geometry: LayerGeometry, size: MapSize, *, activated: bool) -> FormCost:
        g, attention = geometry, attention_macs(geometry)
        x, y = g.C * size.inputs, g.K * size.outputs
        return FormCost(
            constant_macs=attention + static_macs(g, size) + g.L * g.C * size.outputs + g.K * g.L**2,
            computed_macs=g.L * y,
            map_floats=2 * x + 8 * y + 2 * y * activated,  # pooling, Q'; ⊙ λ', V q, the bias, their sum, its clamp
            layout_floats=0,
            weight_floats=attention + g.kernel**2 * g.K * g.C + g.L * (g.C + 3 * g.K),
            nodes=14,
        )
