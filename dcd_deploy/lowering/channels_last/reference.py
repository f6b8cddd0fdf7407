"""What each operator of TFLite computes, by torch, in any precision. Maps are (N, H, W, C)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from dcd_deploy.dynamic.depthwise import conv2d
from dcd_deploy.dynamic.operator import Pair


def to_channels_first(x: Tensor) -> Tensor:
    """(N, H, W, C) → (N, C, H, W)."""
    return x.permute(0, 3, 1, 2)


def to_channels_last(x: Tensor) -> Tensor:
    """(N, C, H, W) → (N, H, W, C)."""
    return x.permute(0, 2, 3, 1)


def pair(sizes: int | tuple[int, ...]) -> Pair:
    """Return the vertical and the horizontal size."""
    return (sizes, sizes) if isinstance(sizes, int) else (int(sizes[0]), int(sizes[1]))


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> Pair:
    """Return what TFLite's padding "SAME" adds before and behind."""
    windows = -(-size // stride)
    total = max((windows - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def _around(x: Tensor, kernel: Pair, stride: Pair, dilation: Pair = (1, 1)) -> tuple[int, int, int, int]:
    """Return the padding "SAME" of x (N, C, H, W), as torch's ``pad`` takes it."""
    rows = same_padding(x.shape[2], kernel[0], stride[0], dilation[0])
    columns = same_padding(x.shape[3], kernel[1], stride[1], dilation[1])
    return (*columns, *rows)


def _laid(y: Tensor) -> Tensor:
    return to_channels_last(y).contiguous()


def _convolved(
    x: Tensor, weight: Tensor, bias: Tensor, stride: Pair, dilation: Pair, groups: int, *, same: bool
) -> Tensor:
    """Convolve x (N, H, W, C) with torch's own weights (K, C/groups, kh, kw)."""
    x = to_channels_first(x)
    left, right, top, bottom = _around(x, (weight.shape[2], weight.shape[3]), stride, dilation) if same else (0,) * 4
    if (left, top) != (right, bottom):
        x = F.pad(x, (left, right, top, bottom))
        left = top = 0
    return _laid(conv2d(x, weight, bias, stride, (top, left), dilation, groups))


def _conv_2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    stride_height: int,
    stride_width: int,
    same: bool,  # noqa: FBT001
    dilation_height: int,
    dilation_width: int,
) -> Tensor:
    stride, dilation = (stride_height, stride_width), (dilation_height, dilation_width)
    return _convolved(x, to_channels_first(weight), bias, stride, dilation, x.shape[3] // weight.shape[3], same=same)


def _depthwise_conv_2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    stride_height: int,
    stride_width: int,
    same: bool,  # noqa: FBT001
    dilation_height: int,
    dilation_width: int,
    multiplier: int,
) -> Tensor:
    assert weight.shape[3] == x.shape[3] * multiplier
    stride, dilation = (stride_height, stride_width), (dilation_height, dilation_width)
    return _convolved(x, weight.permute(3, 0, 1, 2), bias, stride, dilation, x.shape[3], same=same)


def _transpose_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    stride_height: int,
    stride_width: int,
    height: int,
    width: int,
    same: bool,  # noqa: FBT001
) -> Tensor:
    stride, outputs = (stride_height, stride_width), (height, width)
    kernel = (weight.shape[1], weight.shape[2])
    y = F.conv_transpose2d(to_channels_first(x), weight.permute(3, 0, 1, 2), None, stride)
    before = [same_padding(o, k, s)[0] if same else 0 for o, k, s in zip(outputs, kernel, stride, strict=True)]
    lacking = [max(b + o - size, 0) for b, o, size in zip(before, outputs, y.shape[2:], strict=True)]
    y = F.pad(y, (0, lacking[1], 0, lacking[0]))
    y = y[:, :, before[0] : before[0] + height, before[1] : before[1] + width]
    return _laid(y + bias[:, None, None])


def _average_pool_2d(
    x: Tensor,
    height: int,
    width: int,
    stride_height: int,
    stride_width: int,
    same: bool,  # noqa: FBT001
) -> Tensor:
    kernel, stride, x = (height, width), (stride_height, stride_width), to_channels_first(x)
    around = _around(x, kernel, stride) if same else (0, 0, 0, 0)
    if not any(around):
        return _laid(F.avg_pool2d(x, kernel, stride))
    inside = F.avg_pool2d(F.pad(torch.ones_like(x[:1, :1]), around), kernel, stride)
    return _laid(F.avg_pool2d(F.pad(x, around), kernel, stride) / inside)


def _max_pool_2d(
    x: Tensor,
    height: int,
    width: int,
    stride_height: int,
    stride_width: int,
    same: bool,  # noqa: FBT001
) -> Tensor:
    kernel, stride, x = (height, width), (stride_height, stride_width), to_channels_first(x)
    around = _around(x, kernel, stride) if same else (0, 0, 0, 0)
    if any(around):
        x = F.pad(x, around, value=-torch.inf)
    return _laid(F.max_pool2d(x, kernel, stride))


def _batch_matmul(x: Tensor, y: Tensor) -> Tensor:
    return torch.matmul(x, y)


def _fully_connected(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.nn.functional.linear(x, weight, bias)


def _resize_bilinear(x: Tensor, height: int, width: int, align_corners: bool) -> Tensor:  # noqa: FBT001
    y = F.interpolate(to_channels_first(x), (height, width), mode="bilinear", align_corners=align_corners)
    return _laid(y)


def _resize_nearest_neighbor(x: Tensor, height: int, width: int, centres: bool) -> Tensor:  # noqa: FBT001
    mode = "nearest-exact" if centres else "nearest"
    return _laid(F.interpolate(to_channels_first(x), (height, width), mode=mode))


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x > 0, x, x * slope)


IMPLEMENTATIONS: dict[str, Callable[..., Tensor]] = {
    "conv_2d": _conv_2d,
    "depthwise_conv_2d": _depthwise_conv_2d,
    "transpose_conv": _transpose_conv,
    "average_pool_2d": _average_pool_2d,
    "max_pool_2d": _max_pool_2d,
    "batch_matmul": _batch_matmul,
    "fully_connected": _fully_connected,
    "resize_bilinear": _resize_bilinear,
    "resize_nearest_neighbor": _resize_nearest_neighbor,
    "prelu": _prelu,
}
