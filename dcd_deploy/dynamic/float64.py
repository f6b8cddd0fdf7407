"""Modules in float64, whatever precision their own Python asks for.

A reference is the module in float64. But a forward may name a precision, or make tensors of torch's default:

    x.float(), x.to(torch.float32)     in float64, as what it is given and the weights are
    torch.linspace(0, 1, n)            its values, as they are in float32, in float64
    softmax(x, 1, dtype=float32)       in float64

A captured graph keeps what the module says, in single precision (``lowering.precision``), and runs the same way here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dcd_deploy.dynamic.depthwise import QuickDepthwise

LOWER = (torch.float32, torch.float16, torch.bfloat16)
DOUBLED = {torch.FloatTensor, torch.HalfTensor, torch.BFloat16Tensor}
CASTS = (torch.Tensor.float, torch.Tensor.half, torch.Tensor.bfloat16)


class InFloat64(QuickDepthwise):
    """Lets modules compute in float64 alone, and their depthwise convolutions quickly, while the block runs.

    While a graph is ``recorded``, convolutions stay what they are: their taps hold the sizes of the example.
    """

    def __init__(self, *, recorded: bool = False) -> None:
        super().__init__()
        self._recorded = recorded

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call ``func`` with float64 in place of lower precisions."""
        func = torch.Tensor.double if func in CASTS else func
        args = tuple(_double(one) for one in args)
        kwargs = {name: _double(one) for name, one in (kwargs or {}).items()}
        result = func(*args, **kwargs) if self._recorded else super().__torch_function__(func, types, args, kwargs)
        return result.double() if isinstance(result, Tensor) and result.dtype in LOWER else result


def arithmetic_of(precision: torch.dtype) -> QuickDepthwise:
    """Return what a module in this precision runs within: all in float64, or with precisions as the module says."""
    return InFloat64() if precision == torch.float64 else QuickDepthwise()


def _double(value: object) -> object:
    """Return float64 for a lower precision, and any other value as it is."""
    if isinstance(value, torch.dtype):
        return torch.float64 if value in LOWER else value
    return torch.DoubleTensor if isinstance(value, type) and value in DOUBLED else value
