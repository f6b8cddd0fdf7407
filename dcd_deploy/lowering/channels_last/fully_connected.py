"""The kernel order by TFLite's FULLY_CONNECTED with a computed weight: y = act(x W(x)ᵀ + b(x)), one operator.

    V = P Φ                  BATCH_MATMUL of P by Φ
    W = V Q + λ ⊙ W0         FULLY_CONNECTED of V by Qᵀ
    y = act(x Wᵀ + b)        FULLY_CONNECTED of the map by W, its bias and activation within

BATCH_MATMUL has neither, and each is a pass over the map more. XNNPACK takes the operator with a computed weight only
where it is told to (``runtimes.litert_compiled``); elsewhere TFLite's plain kernel computes the same, slowly.

A weight is one for all samples, so this is for a single one.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from dcd_deploy.dynamic.operator import DynamicOperator
from dcd_deploy.dynamic.shape import MapSize
from dcd_deploy.lowering.assemble.activations import with_relu6
from dcd_deploy.lowering.assemble.attention import Bias
from dcd_deploy.lowering.assemble.windows import without_copies
from dcd_deploy.lowering.channels_last.assembled import ChannelsLastRows
from dcd_deploy.lowering.channels_last.attention import ChannelsLastAttention
from dcd_deploy.lowering.channels_last.layers import every_pixel, patches
from dcd_deploy.lowering.channels_last.parts import AppliedByRows, dense
from dcd_deploy.lowering.layers import frozen
from dcd_deploy.lowering.one_matrix import OneMatrixLowering


class FullyConnectedLowering(OneMatrixLowering):
    """A dynamic convolution of one group, of one sample; (1, H, W, C) to (1, H', W', K)."""

    name: ClassVar[str] = "fully_connected"
    only_for: ClassVar[tuple[str, ...] | None] = ("litert-compiled",)
    everywhere: ClassVar[bool] = False

    def __init__(self, operator: DynamicOperator, size: MapSize) -> None:
        super().__init__(operator, size)
        operator = without_copies(with_relu6(operator), size)
        g = operator.geometry
        self.attention = ChannelsLastAttention(operator, size)
        self.shift = Bias(operator, dense)
        self.zeros = frozen(torch.zeros(g.K, dtype=torch.float64)) if self.shift.is_nothing else None
        self.kernel = ChannelsLastRows(operator)
        at_once = g.vector or (g.pointwise and g.stride == (1, 1))
        self.pixels: nn.Module = nn.Identity() if at_once else every_pixel(g, size) if g.pointwise else patches(g)
        self.applied = AppliedByRows()

    def forward(self, x: Tensor, operand: Tensor | None = None) -> Tensor:
        heads, stages, phi = self.attention(x if operand is None else operand)
        bias = self.shift(heads, stages)
        kernel = self.kernel(heads, phi)
        y: Tensor = self.applied(self.pixels(x), kernel, self.zeros if bias is None else bias.reshape(-1))
        return y
