"""A computed kernel applied to the patches of a map, channels last."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dcd_deploy.dynamic.operator import ConvGeometry
from dcd_deploy.lowering.channels_last.convolutions import patches
from dcd_deploy.lowering.channels_last.operators import batch_matmul


class AppliedToPatches(nn.Module):
    """Convolve a map (N, H, W, C) by computed kernels (N, g, C/g·taps, K/g).

    The static twin does so by constant ones. It is a module so that its place in the network tells it from the
    operators that compute the kernel.
    """

    def __init__(self, g: ConvGeometry) -> None:
        super().__init__()
        self.geometry = g
        self.patches = None if g.taps == 1 and g.padding == (0, 0) and g.stride == (1, 1) else patches(g)

    def forward(self, x: Tensor, kernel: Tensor) -> Tensor:
        g = self.geometry
        pixels = x if self.patches is None else self.patches(x)
        if g.groups == 1:
            return batch_matmul(pixels, kernel)
        if g.depthwise:
            return self._tap_by_tap(pixels, kernel)
        size = g.C // g.groups * g.taps
        groups = [batch_matmul(pixels[..., i * size : (i + 1) * size], kernel[:, i : i + 1]) for i in range(g.groups)]
        return torch.cat(groups, 3)

    def _tap_by_tap(self, pixels: Tensor, kernel: Tensor) -> Tensor:
        g = self.geometry
        n, height, width, _ = pixels.shape
        weighed = pixels.reshape(n, height, width, g.C, g.taps) * kernel.reshape(-1, 1, 1, g.C, g.taps)
        return weighed.sum(4)
