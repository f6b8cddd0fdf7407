"""The branch order for a runtime with a blocked layout: maps stay in it, from the layer's input to its output.

    λ' ⊙ (W0' * x) + P' (Φ' (Q' x + t1)) + bias

onnxruntime on x86 keeps maps in blocks of channels between convolutions with constant weights, where a depthwise layer
costs half as much. Every other operator costs a pass to leave the blocks and a pass to come back. Within them it has
convolutions with a hard sigmoid, products and sums of equal shapes, and nearest neighbours; so the attention is made
of 1×1 convolutions, λ' is spread over the map before it is multiplied, the sum is part of the convolution by P', and
the latent map alone leaves the blocks, to meet Φ'. A ReLU behind the sum is fused too, a ReLU6 is not.
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.models.deploy.channels_first.parts import per_sample_conv1x1
from dcd_deploy.models.deploy.fold import FoldedLayer, conv_of, pooled_squeeze
from dcd_deploy.models.deploy.form import Form, FormCost, attention_macs, static_macs
from dcd_deploy.models.geometry import LayerGeometry
from dcd_deploy.models.sizes import MapSize


class BlockedForm(Form):
    """A dynamic convolution in the branch order, in blocks of channels; (N, C, H, W) to (N, K, H', W')."""

    name: ClassVar[str] = "blocked"
    only_for: ClassVar[tuple[str, ...] | None] = ("onnxruntime-x86",)  # elsewhere its spread of λ' is a pass too many

    def __init__(self, folded: FoldedLayer, size: MapSize) -> None:
        super().__init__(folded, size)
        g = folded.geometry
        self.attention = ConvolutionalAttention(folded, size.in_height, size.in_width)
        self.static = conv_of(folded.static, None, g.stride, g.padding)
        self.query = conv_of(folded.query[:, :, None, None], folded.query_bias, g.stride)
        self.project = conv_of(folded.project[:, :, None, None], folded.bias)
        self.spread = (float(size.out_height), float(size.out_width))

    def forward(self, x: Tensor) -> Tensor:
        phi, scale = self.attention(x)
        spread = F.interpolate(scale, scale_factor=self.spread, mode="nearest")
        y: Tensor = self.project(per_sample_conv1x1(self.query(x), phi)) + self.static(x) * spread
        return y

    @classmethod
    def cost(cls, geometry: LayerGeometry, size: MapSize, *, activated: bool) -> FormCost:
        del activated  # fused
        g, attention = geometry, attention_macs(geometry)
        x, y, u = g.C * size.inputs, g.K * size.outputs, g.L * size.outputs
        return FormCost(
            constant_macs=attention + static_macs(g, size) + g.L * g.C * size.outputs + g.L * y,
            computed_macs=g.L * u,
            map_floats=x + 6 * y + 2 * u,  # spread λ', the product with it, the sum
            layout_floats=2 * u,
            weight_floats=attention + g.kernel**2 * g.K * g.C + g.L * (g.C + g.K),
            nodes=16,
        )


class ConvolutionalAttention(nn.Module):
    """Map x (N, C, H, W) to Φ' (N, L, L) and λ' (N, K, 1, 1), by convolutions on the pooled map."""

    def __init__(self, folded: FoldedLayer, height: int, width: int) -> None:
        super().__init__()
        self.geometry = folded.geometry
        squeeze, self.kernel, self.stride = pooled_squeeze(folded, height, width)
        self.squeeze = conv_of(squeeze)
        self.gate = conv_of(folded.gate[:, :, None, None])
        self.phi = conv_of(folded.phi[:, :, None, None], folded.phi_bias)
        self.scale = conv_of(folded.scale[:, :, None, None])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a = self.squeeze(F.avg_pool2d(x, self.kernel, self.stride))
        a = a * F.hardsigmoid(self.gate(a))
        phi: Tensor = self.phi(a)
        return phi.view(-1, self.geometry.L, self.geometry.L), F.hardsigmoid(self.scale(a))
