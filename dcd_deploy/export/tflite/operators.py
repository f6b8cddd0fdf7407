"""How the operators of ``lowering.channels_last.operators`` are written down in TFLite: attributes and operands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Attributes = dict[str, int | str]
Operand = int | tuple[int, ...] | str  # an argument by its position, constant numbers, or what follows
OUTPUT_SHAPE = "the shape of what the operator gives"


@dataclass(frozen=True)
class Written:
    """An operator's ``attributes`` and ``operands`` in TFLite, in their order there; None: its tensors as they are."""

    attributes: Attributes
    operands: tuple[Operand, ...] | None = None


def _convolution(
    stride_height: int,
    stride_width: int,
    same: bool,  # noqa: FBT001 - arguments of an operator
    dilation_height: int,
    dilation_width: int,
) -> Attributes:
    return {
        "dilation_h_factor": dilation_height,
        "dilation_w_factor": dilation_width,
        "fused_activation_function": "NONE",
        "padding": _padding(same=same),
        "stride_h": stride_height,
        "stride_w": stride_width,
    }


def _depthwise(*settings: Any) -> Written:
    *convolution, multiplier = settings
    return Written({**_convolution(*convolution), "depth_multiplier": multiplier})


def _transpose_conv(stride_height: int, stride_width: int, *settings: int) -> Written:
    *_, same = settings
    attributes: Attributes = {
        "fused_activation_function": "NONE",
        "padding": _padding(same=bool(same)),
        "stride_h": stride_height,
        "stride_w": stride_width,
    }
    return Written(attributes, (OUTPUT_SHAPE, 1, 0, 2))


def _pooling(
    height: int,
    width: int,
    stride_height: int,
    stride_width: int,
    same: bool,  # noqa: FBT001
) -> Written:
    attributes: Attributes = {
        "filter_height": height,
        "filter_width": width,
        "fused_activation_function": "NONE",
        "padding": _padding(same=same),
        "stride_h": stride_height,
        "stride_w": stride_width,
    }
    return Written(attributes)


def _resize_bilinear(height: int, width: int, align_corners: bool) -> Written:  # noqa: FBT001
    return Written({"align_corners": align_corners, "half_pixel_centers": not align_corners}, (0, (height, width)))


def _resize_nearest_neighbor(height: int, width: int, centres: bool) -> Written:  # noqa: FBT001
    return Written({"align_corners": False, "half_pixel_centers": centres}, (0, (height, width)))


def _padding(*, same: bool) -> str:
    return "SAME" if same else "VALID"


# operator → its arguments that are not tensors → what stands in the file
WRITTEN: dict[str, Callable[..., Written]] = {
    "conv_2d": lambda *settings: Written(_convolution(*settings)),
    "depthwise_conv_2d": _depthwise,
    "transpose_conv": _transpose_conv,
    "average_pool_2d": _pooling,
    "max_pool_2d": _pooling,
    "batch_matmul": lambda: Written({"adj_x": False, "adj_y": False, "asymmetric_quantize_inputs": False}),
    "fully_connected": lambda: Written(
        {
            "asymmetric_quantize_inputs": False,
            "fused_activation_function": "NONE",
            "keep_num_dims": True,
            "weights_format": "DEFAULT",
        }
    ),
    "resize_bilinear": _resize_bilinear,
    "resize_nearest_neighbor": _resize_nearest_neighbor,
    "prelu": lambda: Written({}),
}
