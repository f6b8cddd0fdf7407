"""What the channels-last forms are made of. Maps are (N, H, W, C)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.models.deploy.fold import conv_of


def to_channels_first(x: Tensor) -> Tensor:
    """(N, H, W, C) → (N, C, H, W)."""
    return x.permute(0, 3, 1, 2)


def to_channels_last(x: Tensor) -> Tensor:
    """(N, C, H, W) → (N, H, W, C)."""
    return x.permute(0, 2, 3, 1)


class Entry(nn.Module):
    """From images (N, 3, H, W) to a map (N, H, W, 3)."""

    def forward(self, x: Tensor) -> Tensor:
        return to_channels_last(x)


class OnChannelsLast(nn.Module):
    """A layer of torch, which thinks channels first, on a channels-last map.

    The converter's convolutions and poolings are channels last themselves, so both permutations vanish.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return to_channels_last(self.layer(to_channels_first(x)))


class GlobalPool(nn.Module):
    """Average a map (N, H, W, C) to features (N, 1, 1, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return to_channels_last(F.avg_pool2d(to_channels_first(x), x.shape[1:3]))


def conv(weight: Tensor, bias: Tensor | None = None, stride: int = 1, padding: int = 0) -> nn.Module:
    """Return a convolution on maps with weights (K, C, k, k)."""
    return OnChannelsLast(conv_of(weight, bias, stride, padding))


def dense(weight: Tensor, bias: Tensor | None = None) -> nn.Module:
    """Return a dense layer on the last dimension of a map, with weights (K, C)."""
    return conv(weight[:, :, None, None], bias)


@torch.library.custom_op("dcd_deploy::batch_matmul", mutates_args=())
def batch_matmul(x: Tensor, y: Tensor) -> Tensor:
    """Multiply x (N, H, W, A) by y (N, 1, A, B), a matrix for each sample; (N, H, W, B).

    It is an operator of its own so that it reaches the converter whole, as one BATCH_MATMUL of four dimensions; torch
    would take its matmul apart into three, with reshapes on both sides.
    """
    return torch.matmul(x, y)


@batch_matmul.register_fake
def _batch_matmul_shape(x: Tensor, y: Tensor) -> Tensor:
    return torch.matmul(x, y)
