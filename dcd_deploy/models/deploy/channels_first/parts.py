"""What several orders of computation are made of."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.models.deploy.fold import FoldedLayer, conv_of


def per_sample_conv1x1(x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """Apply to each sample of x (N, C, H, W) its own kernel (N, K, C) and a bias (K) or (N, K); (N, K, H, W).

    Weights that depend on the sample make a batched matmul, (N, K, C)·(N, C, H·W), which is right at any batch size. A
    batch of one is also a convolution with computed weights, which runtimes fuse with what follows it.
    """
    if x.shape[0] == 1:
        return F.conv2d(x, kernel.view(*kernel.shape[1:], 1, 1), None if bias is None else bias.view(-1))
    y = torch.matmul(kernel, x.flatten(2))
    if bias is not None:
        y = y + bias.view(-1, kernel.shape[1], 1)
    return y.view(y.shape[0], y.shape[1], *x.shape[2:])


class Applied(nn.Module):
    """Convolve x by W0', or by computed weights: the convolution that the static twin has too.

    Weights are (K, C, k, k), or (N, K, C) with a bias (N, K), a kernel for each sample. It is a module, without weights
    of its own, so that its place in the network tells it from the operators that compute the kernel.
    """

    def __init__(self, stride: int, padding: int) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        if kernel.dim() == 3:
            return per_sample_conv1x1(x, kernel, bias)
        return F.conv2d(x, kernel, bias, self.stride, self.padding)


class StaticAndQuery(nn.Module):
    """x ↦ W0' * x (N, K, H', W') and Q' x (+ t1) (N, L, H', W'): one convolution where both are 1×1."""

    def __init__(self, folded: FoldedLayer, query_bias: Tensor | None) -> None:
        super().__init__()
        g = self.geometry = folded.geometry
        query = folded.query[:, :, None, None]
        if g.kernel == 1:
            bias = None if query_bias is None else torch.cat([query_bias.new_zeros(g.K), query_bias])
            self.joint = conv_of(torch.cat([folded.static, query]), bias)
        else:
            self.static = conv_of(folded.static, None, g.stride, g.padding)
            self.query = conv_of(query, query_bias, g.stride)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.geometry.kernel == 1:
            static, query = torch.split(self.joint(x), [self.geometry.K, self.geometry.L], dim=1)
            return static, query
        return self.static(x), self.query(x)
