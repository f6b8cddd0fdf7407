"""The kernel order in homogeneous coordinates, channels last: (x, 1) Wᵀ, with the bias as the kernel's last row.

    Wᵀ = (W0'ᵀ, 0) ⊙ λ' + Q̃ᵀ Φ̃ᵀ P̃ᵀ
    Q̃ = (Q' t1; 0 1)     Φ̃ = (Φ' 0; 0 1)     P̃ = (P' bias)

so that P̃ Φ̃ Q̃ (x, 1) = P' (Φ' (Q' x + t1)) + bias. BATCH_MATMUL takes no bias; to add one is a pass over the layer's
output. A channel of ones is a pass over its input, which in a widening layer is six times smaller.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from dcd_deploy.models.deploy.channels_last.attention import SIXTH, Attention
from dcd_deploy.models.deploy.channels_last.kernel import KernelForm
from dcd_deploy.models.deploy.channels_last.operators import batch_matmul
from dcd_deploy.models.deploy.channels_last.parts import Applied, dense
from dcd_deploy.models.deploy.fold import FoldedLayer, frozen
from dcd_deploy.models.deploy.form import Form, FormCost, attention_macs, static_macs
from dcd_deploy.models.geometry import LayerGeometry
from dcd_deploy.models.sizes import MapSize


class HomogeneousForm(Form):
    """A dynamic 1×1 convolution whose bias is part of its kernel; (N, H, W, C) to (N, H, W, K)."""

    name: ClassVar[str] = "homogeneous"
    only_for: ClassVar[tuple[str, ...] | None] = ("litert",)

    def __init__(self, folded: FoldedLayer, size: MapSize) -> None:
        super().__init__(folded, size)
        self.geometry = folded.geometry
        if not self.suits(folded.geometry):
            self.plain = KernelForm(folded, size)
            return
        layer = homogeneous(folded)
        self.attention = Attention(layer, size.in_height, size.in_width)
        self.ones = frozen(folded.bias.new_ones(1, size.in_height, size.in_width, 1))
        self.query = frozen(layer.query.t()[None, None])  # (1, 1, C + 1, L + 1)
        self.project = dense(layer.project)
        self.static = frozen(F.pad(folded.static.flatten(1), (0, 1)).t() * SIXTH)  # (C + 1, K)
        self.applied = Applied()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor
        if not self.suits(self.geometry):
            y = self.plain(x)
            return y
        phi, scale, _ = self.attention(x)
        kernel = self.static * scale + self.project(batch_matmul(self.query, phi))  # (N, 1, C + 1, K)
        y = self.applied(torch.cat([x, self.ones.expand(len(x), -1, -1, -1)], 3), kernel)
        return y

    @classmethod
    def suits(cls, geometry: LayerGeometry) -> bool:
        """Only for 1×1: TFLite has no convolution with computed weights."""
        return geometry.kernel == 1

    @classmethod
    def cost(cls, geometry: LayerGeometry, size: MapSize, *, activated: bool) -> FormCost:
        g, attention = geometry, attention_macs(replace(geometry, L=geometry.L + 1))
        inputs, latent = g.C + 1, g.L + 1
        x, y, kernel = g.C * size.inputs, g.K * size.outputs, g.K * inputs
        return FormCost(
            constant_macs=attention + latent * kernel,
            computed_macs=inputs * latent**2 + static_macs(g, size) + y,
            map_floats=3 * x + 2 * y * activated,  # pooling, the channel of ones; the clamp
            layout_floats=0,
            weight_floats=attention + latent * (3 * inputs + g.K) + 6 * kernel,
            nodes=14,
        )


def homogeneous(folded: FoldedLayer) -> FoldedLayer:
    """Return the layer as one of (x, 1), without biases; its squeeze and λ' are still those of x."""
    g = folded.geometry
    one = torch.ones(1, dtype=folded.phi.dtype)
    phi = F.pad(folded.phi.view(g.L, g.L, g.S), (0, 0, 0, 1, 0, 1))
    return replace(
        folded,
        geometry=replace(g, L=g.L + 1),
        phi=phi.flatten(0, 1),
        phi_bias=torch.block_diag(folded.phi_bias.view(g.L, g.L), one).flatten(),  # type: ignore[no-untyped-call]
        query=torch.cat([F.pad(folded.query, (0, 0, 0, 1)), torch.cat([folded.query_bias, one])[:, None]], 1),
        project=torch.cat([folded.project, folded.bias[:, None]], 1),
    )
