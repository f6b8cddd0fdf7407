"""The kernel order: (diag(λ') W0' + P' Φ' Q') x + bias(x), one K×C kernel for each sample.

Of a 3×3 layer the dynamic part is the centre tap; for one sample Q' is laid into the middle of zeros, so that one
product makes the whole kernel. In a batch, a whole 3×3 kernel for each sample would have to unfold the image into nine;
there the centre tap alone is applied sample by sample, and W0' stays a constant convolution scaled by λ'.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from dcd_deploy.models.deploy.channels_first.attention import Attention
from dcd_deploy.models.deploy.channels_first.parts import Applied, per_sample_conv1x1
from dcd_deploy.models.deploy.fold import FoldedLayer, frozen, linear_of
from dcd_deploy.models.deploy.form import Form, FormCost, attention_macs, static_macs
from dcd_deploy.models.geometry import LayerGeometry
from dcd_deploy.models.sizes import MapSize


class KernelForm(Form):
    """A dynamic convolution in the kernel order; (N, C, H, W) to (N, K, H', W')."""

    name: ClassVar[str] = "kernel"

    def __init__(self, folded: FoldedLayer, size: MapSize) -> None:
        super().__init__(folded, size)
        self.geometry = folded.geometry
        self.attention = Attention(folded, size.in_height, size.in_width)
        self.static = frozen(folded.static)
        self.query = frozen(folded.query)
        around = [self.geometry.kernel // 2] * 4
        self.query_taps = frozen(F.pad(folded.query[:, :, None, None], around).flatten(1))  # (L, C·k·k)
        self.project = frozen(folded.project)
        self.shift = linear_of(folded.shift, folded.shift_bias)
        self.applied = Applied(self.geometry.stride, self.geometry.padding)

    def forward(self, x: Tensor) -> Tensor:
        phi, scale, a = self.attention(x)
        bias: Tensor = self.shift(a)
        if x.shape[0] == 1:
            return self._forward_one(x, phi.view(phi.shape[1:]), scale, bias)
        dynamic = torch.matmul(torch.matmul(self.project, phi), self.query)  # (N, K, C)
        if self.geometry.kernel == 1:
            one_by_one: Tensor = self.applied(x, self.static.flatten(1) * scale[:, :, None] + dynamic, bias)
            return one_by_one
        stride = self.geometry.stride
        static: Tensor = self.applied(x, self.static, None) * scale[:, :, None, None]
        return static + per_sample_conv1x1(x[:, :, ::stride, ::stride], dynamic, bias)

    def _forward_one(self, x: Tensor, phi: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        """Do the same for a batch of one, whose kernel is a plain matrix, with Φ' (L, L)."""
        half = torch.matmul(self.project, phi)  # (K, L)
        kernel = torch.addmm(self.static.flatten(1) * scale.view(-1, 1), half, self.query_taps)
        y: Tensor = self.applied(x, kernel.view(self.static.shape), bias.view(-1))
        return y

    @classmethod
    def cost(cls, geometry: LayerGeometry, size: MapSize, *, activated: bool) -> FormCost:
        g, attention = geometry, attention_macs(geometry)
        kernel = g.kernel**2 * g.K * g.C
        x, y = g.C * size.inputs, g.K * size.outputs
        arrives_plain = g.kernel == 1 and activated  # what such a layer follows is a sum or another plain layer
        return FormCost(
            constant_macs=attention + g.S * g.K,
            computed_macs=g.K * g.L**2 + g.L * kernel + static_macs(g, size),
            map_floats=x,
            layout_floats=x * (not arrives_plain) + y * activated,
            weight_floats=attention + g.S * g.K + g.L * (g.C * g.kernel**2 + 3 * g.K) + 6 * kernel,
            nodes=16,
        )
