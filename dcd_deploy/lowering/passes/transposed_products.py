"""A transposed convolution by computed kernels as a product of matrices, whose results are laid out by one of ones.

conv_transpose2d(x, w (G·C, K, kh, kw), groups G)  →  each pixel's (K · taps) values, then their places on the map
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, fx, nn

from dcd_deploy.lowering.channels_last.settings import Settings
from dcd_deploy.lowering.graph import shape
from dcd_deploy.lowering.layers import Sizes, frozen


class TransposedProducts(nn.Module):
    """x (N, G·C, H, W), w (G·C, K, kh, kw), b (G·K) or None, G → (N, G·K, H', W')."""

    def __init__(self, channels: int, kernel: tuple[int, ...], **settings: Sizes) -> None:
        super().__init__()
        self.channels, (outputs, *sides) = channels, kernel
        self.values = outputs * math.prod(sides)
        self.laid = nn.ConvTranspose2d(self.values, outputs, tuple(sides), groups=outputs, bias=False, **settings)  # type: ignore[arg-type]  # sizes are pairs
        ones = torch.eye(math.prod(sides), dtype=torch.float64).view(-1, 1, *sides)
        self.laid.weight = frozen(ones.repeat(outputs, 1, 1, 1))

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        n, sides = x.shape[0], x.shape[2:]
        kernels = weight.reshape(groups, self.channels, self.values).mT
        matrices = (groups, self.channels, math.prod(sides))
        # XNNPACK takes a product of three dimensions
        values = torch.bmm(kernels, x.reshape(matrices)) if n == 1 else kernels @ x.reshape(n, *matrices)
        y: Tensor = self.laid(values.reshape(-1, self.values, *sides))
        y = y.reshape(n, -1, *y.shape[2:])
        return y if bias is None else y + bias.reshape(-1, 1, 1)


def transposed_products(node: fx.Node, settings: Settings) -> TransposedProducts | None:
    """Return the products that a transposed convolution of maps is, by the shapes of the example."""
    y, kernel = shape(node), shape(settings["weight"])
    if y is None or kernel is None:
        return None
    channels = kernel[0] * kernel[1] // y[1]  # of the kernels' inputs, those of one of the groups
    names = ("stride", "padding", "output_padding", "dilation")
    return TransposedProducts(channels, kernel[1:], **{name: settings[name] for name in names if name in settings})
