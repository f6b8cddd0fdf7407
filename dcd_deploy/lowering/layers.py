"""Frozen layers of torch made of given weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

Sizes = int | tuple[int, ...]


def conv_of(
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: str | Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
    padding_mode: str = "zeros",
) -> nn.Conv2d:
    """Return a frozen convolution with these weights (K, C/groups, kh, kw)."""
    outputs, inputs, *kernel = weight.shape
    with torch.device("meta"):  # no random weights that would be thrown away
        conv = nn.Conv2d(
            inputs * groups,
            outputs,
            tuple(kernel),  # type: ignore[arg-type]  # sizes are pairs
            stride,  # type: ignore[arg-type]
            padding,  # type: ignore[arg-type]
            dilation,  # type: ignore[arg-type]
            groups,
            bias=bias is not None,
            padding_mode=padding_mode,  # type: ignore[arg-type]
        )
    conv.weight = frozen(weight)
    conv.bias = None if bias is None else frozen(bias)
    return conv


def linear_of(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """Return a frozen linear layer with these weights (outputs, inputs)."""
    with torch.device("meta"):
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    linear.weight = frozen(weight)
    if bias is not None:
        linear.bias = frozen(bias)
    return linear


def frozen(tensor: Tensor) -> nn.Parameter:
    """Return a copy of ``tensor`` as a parameter that is not trained."""
    return nn.Parameter(tensor.detach().clone(), requires_grad=False)
