"""The kernel order, channels last: x Wᵀ + bias(x), with Wᵀ = W0'ᵀ ⊙ λ' + (Q'ᵀ Φ'ᵀ) P'ᵀ, one C×K kernel for each sample.

A 3×3 layer keeps W0' as a constant convolution, scaled by λ', since no runtime convolves with computed weights; the
dynamic part is its centre tap, (Q'ᵀ Φ'ᵀ) P'ᵀ applied to every stride-th pixel.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from dcd_deploy.models.deploy.channels_last.attention import SIXTH, Attention
from dcd_deploy.models.deploy.channels_last.operators import batch_matmul
from dcd_deploy.models.deploy.channels_last.parts import Applied, conv, dense, every_pixel
from dcd_deploy.models.deploy.fold import FoldedLayer, frozen
from dcd_deploy.models.deploy.form import Form, FormCost, attention_macs, static_macs
from dcd_deploy.models.geometry import LayerGeometry
from dcd_deploy.models.sizes import MapSize


class KernelForm(Form):
    """A dynamic convolution in the kernel order; (N, H, W, C) to (N, H', W', K)."""

    name: ClassVar[str] = "kernel"

    def __init__(self, folded: FoldedLayer, size: MapSize) -> None:
        super().__init__(folded, size)
        g = self.geometry = folded.geometry
        self.attention = Attention(folded, size.in_height, size.in_width, shifted=True)
        self.query = frozen(folded.query.t()[None, None])  # (1, 1, C, L)
        self.project = dense(folded.project)
        self.applied = Applied()
        if g.kernel == 1:
            self.static = frozen(folded.static.flatten(1).t() * SIXTH)  # (C, K)
        else:
            self.static_conv = conv(folded.static * SIXTH, None, g.stride, g.padding)

    def forward(self, x: Tensor) -> Tensor:
        phi, scale, bias = self.attention(x)
        dynamic = self.project(batch_matmul(self.query, phi))  # (N, 1, C, K)
        y: Tensor
        if self.geometry.kernel == 1:
            y = self.applied(x, self.static * scale + dynamic) + bias
        else:
            y = self.static_conv(x) * scale + (batch_matmul(every_pixel(x, self.geometry.stride), dynamic) + bias)
        return y

    @classmethod
    def suits(cls, geometry: LayerGeometry) -> bool:
        """Only for 1×1: TFLite has no convolution with computed weights."""
        return geometry.kernel == 1

    @classmethod
    def cost(cls, geometry: LayerGeometry, size: MapSize, *, activated: bool) -> FormCost:
        g, attention = geometry, attention_macs(geometry)
        x, y, kernel = g.C * size.inputs, g.K * size.outputs, g.K * g.C
        one_by_one = g.kernel == 1
        return FormCost(
            constant_macs=attention + g.S * g.K + g.L * kernel + (0 if one_by_one else static_macs(g, size)),
            computed_macs=g.C * g.L**2 + kernel * size.outputs,
            map_floats=x + (2 * y if one_by_one else 8 * y) + 2 * y * activated,  # pooling; the bias, its clamp
            layout_floats=0,
            weight_floats=attention + g.S * g.K + g.L * (3 * g.C + g.K) + (5 + g.kernel**2) * kernel,
            nodes=14,
        )
