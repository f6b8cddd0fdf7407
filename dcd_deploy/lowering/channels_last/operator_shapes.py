"""The shapes of what TFLite's operators give.

A trace passes each operator half a dozen times; to say its shape is quicker than to compute it on fake tensors.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


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
