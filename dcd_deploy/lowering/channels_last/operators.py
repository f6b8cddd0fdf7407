"""The operators of TFLite that a network consists of, as operators of torch. Maps are (N, H, W, C).

Each is opaque to torch, so that it reaches the converter whole, as the one operator of TFLite that bears its name:
torch would take a matmul of four dimensions apart into reshapes, and wrap every convolution in permutations. In torch
they compute the same in any precision (``reference``), which is how the deploy form is checked in float64. The shape of
what each gives is said apart: a trace passes it half a dozen times, and computes nothing then.

Sizes are numbers, for both directions, or pairs (vertical, horizontal). ``same`` is TFLite's own padding: as many
windows as strides fit into the map, and where the padding is odd the larger half behind; else there is none.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dcd_deploy.dynamic.operator import Pair
from dcd_deploy.lowering.channels_last.reference import (
    IMPLEMENTATIONS,
    pair,
    to_channels_first,
    to_channels_last,
)


def _windows(size: int, kernel: int, stride: int, dilation: int = 1, *, same: bool = False) -> int:
    """Return how many windows fit into ``size``."""
    return -(-size // stride) if same else (size - (kernel - 1) * dilation - 1) // stride + 1


def _conv_2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    stride_height: int,
    stride_width: int,
    same: bool,  # noqa: FBT001
    dilation_height: int,
    dilation_width: int,
    *multiplier: int,
) -> list[int]:
    del multiplier
    height = _windows(x.shape[1], weight.shape[1], stride_height, dilation_height, same=same)
    width = _windows(x.shape[2], weight.shape[2], stride_width, dilation_width, same=same)
    return [x.shape[0], height, width, bias.shape[0]]


def _transpose_conv(x: Tensor, weight: Tensor, bias: Tensor, *settings: int) -> list[int]:
    del weight
    _, _, height, width, _ = settings
    return [x.shape[0], height, width, bias.shape[0]]


def _pooling(
    x: Tensor,
    height: int,
    width: int,
    stride_height: int,
    stride_width: int,
    same: bool,  # noqa: FBT001
) -> list[int]:
    rows = _windows(x.shape[1], height, stride_height, same=same)
    columns = _windows(x.shape[2], width, stride_width, same=same)
    return [x.shape[0], rows, columns, x.shape[3]]


def _batch_matmul(x: Tensor, y: Tensor) -> list[int]:
    leading = (max(sizes) for sizes in zip(x.shape[:2], y.shape[:2], strict=True))  # one for all, or one each
    return [*leading, x.shape[2], y.shape[3]]


def _fully_connected(x: Tensor, weight: Tensor, bias: Tensor) -> list[int]:
    del bias
    return [*x.shape[:-1], weight.shape[0]]


def _resize(x: Tensor, height: int, width: int, setting: bool) -> list[int]:  # noqa: FBT001
    del setting
    return [x.shape[0], height, width, x.shape[3]]


def _prelu(x: Tensor, slope: Tensor) -> list[int]:
    del slope
    return list(x.shape)


SHAPES: dict[str, Callable[..., list[int]]] = {
    "conv_2d": _conv_2d,
    "depthwise_conv_2d": _conv_2d,
    "transpose_conv": _transpose_conv,
    "average_pool_2d": _pooling,
    "max_pool_2d": _pooling,
    "batch_matmul": _batch_matmul,
    "fully_connected": _fully_connected,
    "resize_bilinear": _resize,
    "resize_nearest_neighbor": _resize,
    "prelu": _prelu,
}


__all__ = [
    "average_pool_2d",
    "batch_matmul",
    "conv_2d",
    "depthwise_conv_2d",
    "fully_connected",
    "max_pool_2d",
    "prelu",
    "resize_bilinear",
    "resize_nearest_neighbor",
    "to_channels_first",
    "to_channels_last",
    "transpose_conv",
]

Sizes = int | Pair


def _operator(name: str) -> Callable[..., Tensor]:
    operator = torch.library.custom_op(f"dcd_deploy::{name}", IMPLEMENTATIONS[name], mutates_args=())
    operator.register_fake(lambda x, *arguments: x.new_empty(SHAPES[name](x, *arguments)))
    return operator


_OPERATORS: dict[str, Callable[..., Tensor]] = {name: _operator(name) for name in IMPLEMENTATIONS}


def conv_2d(
    x: Tensor, weight: Tensor, bias: Tensor, stride: Sizes = 1, *, same: bool = False, dilation: Sizes = 1
) -> Tensor:
    """Convolve x with weights (K, kh, kw, C), or (K, kh, kw, C/groups)."""
    return _OPERATORS["conv_2d"](x, weight, bias, *pair(stride), same, *pair(dilation))


def depthwise_conv_2d(
    x: Tensor, weight: Tensor, bias: Tensor, stride: Sizes = 1, *, same: bool = False, dilation: Sizes = 1
) -> Tensor:
    """Convolve each channel of x by its own M kernels, weights (1, kh, kw, C·M); to channels c·M + m."""
    multiplier = weight.shape[3] // x.shape[3]
    return _OPERATORS["depthwise_conv_2d"](x, weight, bias, *pair(stride), same, *pair(dilation), multiplier)


def transpose_conv(
    x: Tensor, weight: Tensor, bias: Tensor, stride: Sizes, outputs: Pair, *, same: bool = False
) -> Tensor:
    """Convolve x transposed, with weights (K, kh, kw, C), to a map of ``outputs`` (height, width).

    It is what a convolution from a map of that size, of this stride and padding, has as its gradient.
    """
    return _OPERATORS["transpose_conv"](x, weight, bias, *pair(stride), *outputs, same)


def average_pool_2d(x: Tensor, kernel: Sizes, stride: Sizes, *, same: bool = False) -> Tensor:
    """Average over windows; what lies outside the map does not count."""
    return _OPERATORS["average_pool_2d"](x, *pair(kernel), *pair(stride), same)


def max_pool_2d(x: Tensor, kernel: Sizes, stride: Sizes, *, same: bool = False) -> Tensor:
    """Take the largest value of each window; what lies outside the map does not count."""
    return _OPERATORS["max_pool_2d"](x, *pair(kernel), *pair(stride), same)


def batch_matmul(x: Tensor, y: Tensor) -> Tensor:
    """Multiply x (N, H, W, A) by y (N, 1, A, B), a matrix for each sample; (N, H, W, B)."""
    return _OPERATORS["batch_matmul"](x, y)


def fully_connected(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Multiply the last dimension of x (…, A) by weights (B, A), the same for all, and add a bias (B); (…, B)."""
    return _OPERATORS["fully_connected"](x, weight, bias)


def resize_bilinear(x: Tensor, height: int, width: int, *, align_corners: bool = False) -> Tensor:
    """Interpolate between pixels, whose centres lie at halves unless the corners are aligned."""
    return _OPERATORS["resize_bilinear"](x, height, width, align_corners)


def resize_nearest_neighbor(x: Tensor, height: int, width: int, *, centres: bool = False) -> Tensor:
    """Repeat or leave out pixels; which one is nearest counts from their ``centres``, or else their corners."""
    return _OPERATORS["resize_nearest_neighbor"](x, height, width, centres)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """Return x where it is positive, elsewhere x · slope (1, 1, C)."""
    return _OPERATORS["prelu"](x, slope)
