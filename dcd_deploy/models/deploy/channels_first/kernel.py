"""The kernel order: (diag(λ') W0' + P' Φ' Q') x + bias(x), one K×C kernel for each sample.

Of a 3×3 layer the dynamic part is the centre tap. In a batch, a whole 3×3 kernel for each sample would have to unfold
the image into nine; there the centre tap alone is applied sample by sample, and W0' stays a constant convolution scaled
by λ'.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.models.deploy.channels_first.attention import Attention
from dcd_deploy.models.deploy.channels_first.parts import Applied, per_sample_conv1x1
from dcd_deploy.models.deploy.fold import FoldedLayer, frozen, linear_of
from dcd_deploy.models.sizes import MapSize


class KernelForm(nn.Module):
    """A dynamic convolution in the kernel order; (N, C, H, W) to (N, K, H', W')."""

    def __init__(self, folded: FoldedLayer, size: MapSize) -> None:
        super().__init__()
        self.geometry = folded.geometry
        self.attention = Attention(folded, size.in_height, size.in_width)
        self.static = frozen(folded.static)
        self.query = frozen(folded.query)
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
        g = self.geometry
        half = torch.matmul(self.project, phi)  # (K, L)
        if g.kernel == 1:
            kernel = torch.addmm(self.static.flatten(1) * scale.view(-1, 1), half, self.query).view(g.K, g.C, 1, 1)
        else:
            centre = torch.matmul(half, self.query).view(g.K, g.C, 1, 1)
            kernel = self.static * scale.view(-1, 1, 1, 1) + F.pad(centre, [g.padding] * 4)
        y: Tensor = self.applied(x, kernel, bias.view(-1))
        return y
