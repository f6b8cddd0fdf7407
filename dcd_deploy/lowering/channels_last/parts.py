"""What the channels-last forms are made of: modules on maps (N, H, W, C)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.lowering.channels_last import operators
from dcd_deploy.lowering.layers import conv_of, frozen


class Entry(nn.Module):
    """From images (N, 3, H, W) to a map (N, H, W, 3)."""

    def forward(self, x: Tensor) -> Tensor:
        return operators.to_channels_last(x)


class Conv(nn.Module):
    """A convolution of torch, plain or depthwise, on channels-last maps.

    TFLite pads by itself where the output is as large as the input; a strided layer, whose padding TFLite would put on
    one side, is padded before.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.depthwise = conv.groups > 1
        assert conv.groups in (1, conv.in_channels), "neither plain nor depthwise"
        self.weight = frozen(conv.weight.permute(1, 2, 3, 0) if self.depthwise else conv.weight.permute(0, 2, 3, 1))
        self.bias = frozen(conv.weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias)
        self.stride, self.padding = conv.stride[0], int(conv.padding[0])
        self.same = self.stride == 1 and 2 * self.padding == conv.kernel_size[0] - 1

    def forward(self, x: Tensor) -> Tensor:
        if self.padding and not self.same:
            x = padded(x, self.padding)
        convolve = operators.depthwise_conv_2d if self.depthwise else operators.conv_2d
        return convolve(x, self.weight, self.bias, self.stride, same=self.same)


class MaxPool(nn.Module):
    """Max pooling of a map that is nowhere negative (it follows a ReLU), so that padding by zeros changes nothing."""

    def __init__(self, size: int, stride: int, padding: int) -> None:
        super().__init__()
        self.size, self.stride, self.padding = size, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return operators.max_pool_2d(padded(x, self.padding), self.size, self.stride)


class GlobalPool(nn.Module):
    """Average a map (N, H, W, C) to features (N, 1, 1, C)."""

    def forward(self, x: Tensor) -> Tensor:
        size = (x.shape[1], x.shape[2])
        return operators.average_pool_2d(x, size, size) if size != (1, 1) else x


class Applied(nn.Module):
    """Convolve a map (N, H, W, C) by computed 1×1 kernels (N, 1, C, K): what the static twin does by constant ones.

    It is a module so that its place in the network tells it from the operators that compute the kernel.
    """

    def forward(self, x: Tensor, kernel: Tensor) -> Tensor:
        return operators.batch_matmul(x, kernel)


def on_channels_last(layer: nn.Module) -> nn.Module:
    """Return a convolution or pooling of torch for channels-last maps."""
    if isinstance(layer, nn.MaxPool2d):
        assert isinstance(layer.kernel_size, int)
        assert isinstance(layer.stride, int)
        assert isinstance(layer.padding, int)
        return MaxPool(layer.kernel_size, layer.stride, layer.padding)
    assert isinstance(layer, nn.Conv2d)
    return Conv(layer)


def conv(weight: Tensor, bias: Tensor | None = None, stride: int = 1, padding: int = 0) -> Conv:
    """Return a convolution on maps with torch's weights (K, C, k, k)."""
    return Conv(conv_of(weight, bias, stride, padding))


def dense(weight: Tensor, bias: Tensor | None = None) -> Conv:
    """Return a dense layer on the last dimension of a map, with weights (K, C)."""
    return conv(weight[:, :, None, None], bias)


def padded(x: Tensor, padding: int) -> Tensor:
    """Return the map with ``padding`` zeros on all four sides."""
    return F.pad(x, (0, 0, padding, padding, padding, padding))


def every_pixel(x: Tensor, stride: int) -> Tensor:
    """Return every stride-th pixel of a map.

    It is spelled as a depthwise convolution by one, since XNNPACK takes no slice with a stride.
    """
    if stride == 1:
        return x
    channels = x.shape[3]
    return operators.depthwise_conv_2d(x, x.new_ones(1, 1, 1, channels), x.new_zeros(channels), stride)
