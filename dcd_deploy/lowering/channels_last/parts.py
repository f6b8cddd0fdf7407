"""What channels-last lowerings and networks are made of: modules on maps (N, H, W, C)."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from dcd_deploy.lowering.channels_last import operators
from dcd_deploy.lowering.channels_last.pooling import Around, pad_map, same_around, symmetric
from dcd_deploy.lowering.channels_last.reference import pair
from dcd_deploy.lowering.layers import conv_of, frozen


class Conv(nn.Module):
    """A convolution of torch on channels-last maps: plain, depthwise (with several kernels a channel), or in groups.

    TFLite pads by itself where its padding is the one asked for; else the map is padded before, as in a strided layer,
    where TFLite would put more behind than before.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.depthwise = 1 < conv.groups == conv.in_channels
        self.weight = frozen(conv.weight.permute(1, 2, 3, 0) if self.depthwise else conv.weight.permute(0, 2, 3, 1))
        self.bias = frozen(conv.weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias)
        self.kernel, self.stride, self.dilation = pair(conv.kernel_size), pair(conv.stride), pair(conv.dilation)
        self.around = around_of(conv)
        self.mode = conv.padding_mode

    def forward(self, x: Tensor) -> Tensor:
        same = self.mode == "zeros" and self.around == same_around(x, self.kernel, self.stride, self.dilation)
        if any(self.around) and not same:
            x = pad_map(x, self.around, mode="constant" if self.mode == "zeros" else self.mode)
            same = False
        convolve = operators.depthwise_conv_2d if self.depthwise else operators.conv_2d
        return convolve(x, self.weight, self.bias, self.stride, same=same and any(self.around), dilation=self.dilation)


def around_of(conv: nn.Conv2d) -> Around:
    """Return what a convolution of torch adds around a map; "same" puts the larger half behind."""
    if isinstance(conv.padding, str):
        rows, columns = ((k - 1) * d if conv.padding == "same" else 0 for k, d in _by_side(conv))
        return (rows // 2, rows - rows // 2, columns // 2, columns - columns // 2)
    return symmetric(conv.padding)


def _by_side(conv: nn.Conv2d) -> Iterable[tuple[int, int]]:
    return zip(pair(conv.kernel_size), pair(conv.dilation), strict=True)


class GlobalPool(nn.Module):
    """Average a map (N, H, W, C) to features (N, 1, 1, C)."""

    def forward(self, x: Tensor) -> Tensor:
        size = (x.shape[1], x.shape[2])
        return operators.average_pool_2d(x, size, size) if size != (1, 1) else x


class ChannelsLastApplied(nn.Module):
    """Convolve a map (N, H, W, C) by computed 1×1 kernels (N, 1, C, K): what the static twin does by constant ones.

    It is a module so that its place in the network tells it from the operators that compute the kernel.
    """

    def forward(self, x: Tensor, kernel: Tensor) -> Tensor:
        return operators.batch_matmul(x, kernel)


class AppliedByRows(nn.Module):
    """Convolve a map (1, H, W, C) by a computed 1×1 kernel (K, C), and add a bias (K); see ``ChannelsLastApplied``."""

    def forward(self, x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        return operators.fully_connected(x, kernel, bias)


def conv(weight: Tensor, bias: Tensor | None = None, stride: int = 1, padding: int = 0) -> Conv:
    """Return a convolution on maps with torch's weights (K, C, k, k)."""
    return Conv(conv_of(weight, bias, stride, padding))


def dense(weight: Tensor, bias: Tensor | None = None) -> Conv:
    """Return a dense layer on the last dimension of a map, with weights (K, C)."""
    return conv(weight[:, :, None, None], bias)
