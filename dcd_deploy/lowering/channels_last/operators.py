"""The operators of TFLite that a network consists of, as operators of torch. Maps are (N, H, W, C).

Each is opaque to torch, so that it reaches the converter whole, as the one operator of TFLite that bears its name:
torch would take a matmul of four dimensions apart into reshapes, and wrap every convolution in permutations. In torch
they compute the same in any precision, which is how the deploy form is checked in float64.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def to_channels_first(x: Tensor) -> Tensor:
    """(N, H, W, C) → (N, C, H, W)."""
    return x.permute(0, 3, 1, 2)


def to_channels_last(x: Tensor) -> Tensor:
    """(N, C, H, W) → (N, H, W, C)."""
    return x.permute(0, 2, 3, 1)


def _conv_2d(x: Tensor, weight: Tensor, bias: Tensor, stride: int, same: bool) -> Tensor:  # noqa: FBT001 - a schema's
    padding = (weight.shape[1] - 1) // 2 if same else 0
    y = F.conv2d(to_channels_first(x), to_channels_first(weight), bias, stride, padding)
    return to_channels_last(y).contiguous()


def _depthwise_conv_2d(x: Tensor, weight: Tensor, bias: Tensor, stride: int, same: bool) -> Tensor:  # noqa: FBT001
    padding = (weight.shape[1] - 1) // 2 if same else 0
    kernel = weight.permute(3, 0, 1, 2)  # (1, k, k, C) → (C, 1, k, k)
    return to_channels_last(
        F.conv2d(to_channels_first(x), kernel, bias, stride, padding, groups=x.shape[3])
    ).contiguous()


def _average_pool_2d(x: Tensor, height: int, width: int, stride_height: int, stride_width: int) -> Tensor:
    pooled = F.avg_pool2d(to_channels_first(x), (height, width), (stride_height, stride_width))
    return to_channels_last(pooled).contiguous()


def _max_pool_2d(x: Tensor, size: int, stride: int) -> Tensor:
    return to_channels_last(F.max_pool2d(to_channels_first(x), size, stride)).contiguous()


def _batch_matmul(x: Tensor, y: Tensor) -> Tensor:
    return torch.matmul(x, y)


IMPLEMENTATIONS: dict[str, Callable[..., Tensor]] = {
    "conv_2d": _conv_2d,
    "depthwise_conv_2d": _depthwise_conv_2d,
    "average_pool_2d": _average_pool_2d,
    "max_pool_2d": _max_pool_2d,
    "batch_matmul": _batch_matmul,
}


def _windows(size: int, kernel: int, stride: int) -> int:
    """Return how many windows fit into ``size``."""
    return (size - kernel) // stride + 1


def _conv_2d_shape(x: Tensor, weight: Tensor, bias: Tensor, stride: int, same: bool) -> list[int]:  # noqa: FBT001
    n, height, width, _ = x.shape
    around = 2 * ((weight.shape[1] - 1) // 2) if same else 0
    height, width = (
        _windows(size + around, kernel, stride) for size, kernel in zip((height, width), weight.shape[1:3], strict=True)
    )
    return [n, height, width, bias.shape[0]]


def _average_pool_2d_shape(x: Tensor, height: int, width: int, stride_height: int, stride_width: int) -> list[int]:
    n, h, w, channels = x.shape
    return [n, _windows(h, height, stride_height), _windows(w, width, stride_width), channels]


def _max_pool_2d_shape(x: Tensor, size: int, stride: int) -> list[int]:
    return _average_pool_2d_shape(x, size, size, stride, stride)


def _batch_matmul_shape(x: Tensor, y: Tensor) -> list[int]:
    leading = (max(sizes) for sizes in zip(x.shape[:2], y.shape[:2], strict=True))  # one for all, or one each
    return [*leading, x.shape[2], y.shape[3]]


# A trace passes each operator half a dozen times; to say its shape is quicker than to compute it on fake tensors.
SHAPES: dict[str, Callable[..., list[int]]] = {
    "conv_2d": _conv_2d_shape,
    "depthwise_conv_2d": _conv_2d_shape,
    "average_pool_2d": _average_pool_2d_shape,
    "max_pool_2d": _max_pool_2d_shape,
    "batch_matmul": _batch_matmul_shape,
}


def _operator(name: str) -> Callable[..., Tensor]:
    operator = torch.library.custom_op(f"dcd_deploy::{name}", IMPLEMENTATIONS[name], mutates_args=())
    operator.register_fake(lambda x, *arguments: x.new_empty(SHAPES[name](x, *arguments)))
    return operator


_OPERATORS = {name: _operator(name) for name in IMPLEMENTATIONS}


def conv_2d(x: Tensor, weight: Tensor, bias: Tensor, stride: int = 1, *, same: bool = False) -> Tensor:
    """Convolve x with weights (K, k, k, C); ``same`` pads by half a kernel (stride 1 alone), else not at all."""
    y: Tensor = _OPERATORS["conv_2d"](x, weight, bias, stride, same)
    return y


def depthwise_conv_2d(x: Tensor, weight: Tensor, bias: Tensor, stride: int = 1, *, same: bool = False) -> Tensor:
    """Convolve each channel of x by its own weights (1, k, k, C)."""
    y: Tensor = _OPERATORS["depthwise_conv_2d"](x, weight, bias, stride, same)
    return y


def average_pool_2d(x: Tensor, kernel: tuple[int, int], stride: tuple[int, int]) -> Tensor:
    """Average over windows, without padding."""
    y: Tensor = _OPERATORS["average_pool_2d"](x, *kernel, *stride)
    return y


def max_pool_2d(x: Tensor, size: int, stride: int) -> Tensor:
    """Take the largest value of each window, without padding."""
    y: Tensor = _OPERATORS["max_pool_2d"](x, size, stride)
    return y


def batch_matmul(x: Tensor, y: Tensor) -> Tensor:
    """Multiply x (N, H, W, A) by y (N, 1, A, B), a matrix for each sample; (N, H, W, B)."""
    product: Tensor = _OPERATORS["batch_matmul"](x, y)
    return product
