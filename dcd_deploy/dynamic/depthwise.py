"""Depthwise convolutions in float64 as a sum over taps: quicker than torch's, which go through them group by group.

    y[c] = b[c] + Σ_uv w[c, u, v] · x[c], padded, shifted by (u, v) and thinned out by the stride

It changes how torch computes one operator, never what is computed: the same products in the order of the taps, so that
it differs from torch's own by rounding at most (``tests/test_depthwise.py``), five orders below the tightest check. A
reference stays what it was, the module's own forward in float64; nothing of the deploy form or of a runtime is in it,
and what a user's network recorded (``recording``) is computed by torch alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from dcd_deploy.dynamic.operator import Pair

LEAST = 8  # groups; fewer take torch no time
CACHED = 1 << 15  # values of a map, for as many channels at once as the nearest cache holds


class QuickDepthwise(TorchFunctionMode):
    """Lets modules compute their float64 depthwise convolutions so, while the block runs."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call ``conv2d`` below in place of torch's."""
        del types
        return (conv2d if func is torch.conv2d else func)(*args, **(kwargs or {}))


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Return what ``torch.conv2d`` does."""
    if isinstance(padding, str) or not _is_depthwise(x, weight, groups):
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)
    spans = [d * (k - 1) - 2 * p for d, k, p in zip(pair_of(dilation), weight.shape[2:], pair_of(padding), strict=True)]
    if any(side <= span for side, span in zip(x.shape[2:], spans, strict=True)):  # torch says what is wrong
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)
    return _by_taps(x, weight, bias, pair_of(stride), pair_of(padding), pair_of(dilation))


def _is_depthwise(x: Tensor, weight: Tensor, groups: int) -> bool:
    if x.dim() != 4 or weight.dim() != 4 or not x.dtype == weight.dtype == torch.float64:
        return False
    return groups >= LEAST and groups == x.shape[1] and weight.shape[1] == 1 and len(weight) % groups == 0


def _by_taps(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """Convolve a few channels after the other, so that their maps stay in the cache from tap to tap."""
    multiple, step = len(weight) // x.shape[1], max(1, CACHED // (x.shape[2] * x.shape[3]))
    parts = []
    for first in range(0, x.shape[1], step):
        rows = slice(first * multiple, (first + step) * multiple)
        some = x[:, first : first + step]
        some = some if multiple == 1 else some.repeat_interleave(multiple, 1)
        parts.append(
            _sum_of_taps(some, weight[rows, 0], None if bias is None else bias[rows], stride, padding, dilation)
        )
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _sum_of_taps(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """Return b + Σ_uv w[:, u, v] · x shifted, for x (N, C, H, W) and w (C, kh, kw)."""
    count, channels, taps = len(x), len(weight), (weight.shape[1], weight.shape[2])
    around = [side + 2 * p for side, p in zip(x.shape[2:], padding, strict=True)]
    sizes = [(a - d * (k - 1) - 1) // s + 1 for a, d, k, s in zip(around, dilation, taps, stride, strict=True)]
    phases = _phases(x, around, stride, padding)
    shift = x.new_zeros(channels) if bias is None else bias
    y = shift[:, None, None].repeat(count, 1, *sizes)
    for u in range(taps[0]):
        for v in range(taps[1]):
            (i, row), (j, column) = divmod(u * dilation[0], stride[0]), divmod(v * dilation[1], stride[1])
            seen = phases[row, column, :, :, i : i + sizes[0], j : j + sizes[1]]
            y.addcmul_(seen, weight[:, u, v, None, None])
    return y


def _phases(x: Tensor, around: Sequence[int], stride: Pair, padding: Pair) -> Tensor:
    """Return x (N, C, H, W), padded, as (rows, columns, N, C, H', W'): what each tap reads lies in a row there."""
    whole = [-(-side // s) * s for side, s in zip(around, stride, strict=True)]
    (top, left), (bottom, right) = (
        padding,
        (w - p - side for w, p, side in zip(whole, padding, x.shape[2:], strict=True)),
    )
    x = F.pad(x, (left, right, top, bottom))
    if stride == (1, 1):
        return x[None, None]
    split = x.view(*x.shape[:2], whole[0] // stride[0], stride[0], whole[1] // stride[1], stride[1])
    return split.permute(3, 5, 0, 1, 2, 4).contiguous()


def pair_of(value: int | Sequence[int]) -> Pair:
    """Return the sides that one number, or a list of one or two, stands for."""
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[-1]))
