"""The attention, channels first: from its source to the values of the heads, each (N, values)."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.dynamic.attention import Activation, Dense, Gated, Stage
from dcd_deploy.dynamic.operator import PHI, DynamicOperator, LowRank
from dcd_deploy.dynamic.shape import MapSize
from dcd_deploy.lowering.assemble.attention import HeadValues, in_order, stage_names
from dcd_deploy.lowering.assemble.windows import pooling_matrix, windows, without_copies
from dcd_deploy.lowering.layers import conv_of, linear_of

LARGE = 56  # from this side on, two means over rows and columns are quicker than one pooling by windows


class ChannelsFirstAttention(nn.Module):
    """Map a source (N, C, H, W), or (N, values), to the values of the heads.

    Its layers are linear ones on the pooled values in a row, where a hard sigmoid fuses with the layer before it.
    ``by_windows`` keeps the pooling one operator, for layouts in which that is quick.
    """

    def __init__(self, operator: DynamicOperator, size: MapSize, *, by_windows: bool = False) -> None:
        super().__init__()
        attention, low_rank = without_copies(operator, size).attention, operator.term(LowRank)
        self.latent = 0 if low_rank is None else low_rank.latent
        self.pool = None if attention.pool is None else Pool(attention.pool, by_windows=by_windows)
        stages, heads = list(stage_names(attention.stages)), in_order(attention.heads)
        self.stages = [(name, stage.activation, isinstance(stage, Gated)) for name, stage in stages]
        self.heads = [(name, None if head is None else head.activation) for name, head in heads]
        for name, layer in (*stages, *heads):
            if layer is not None:
                self.add_module(name, self.dense(layer, first=bool(stages) and name == stages[0][0]))

    def dense(self, layer: Stage, *, first: bool) -> nn.Module:
        """Return a layer as a module, and the first one that sees the pooled values, if there are several."""
        del first
        return linear_of(layer.weight, layer.bias)

    def row(self, source: Tensor) -> Tensor:
        """Return the values that the stages see."""
        if source.dim() == 2:
            return source
        return source.flatten(1) if self.pool is None else self.pool(source).flatten(1)

    def activate(self, activation: Activation, v: Tensor) -> Tensor:
        """Return the activations."""
        return activation(v)

    def forward(self, source: Tensor) -> HeadValues:
        a = self.row(source)
        for name, activation, gated in self.stages:
            value = self.activate(activation, self.get_submodule(name)(a))
            a = a * value if gated else value
        heads: dict[str, Tensor] = {}
        phi = None
        for name, head in self.heads:
            heads[name] = a if head is None else self.activate(head, self.get_submodule(name)(a))
            if name == PHI:
                phi = heads[name].reshape(-1, self.latent, self.latent)
        return HeadValues(heads, a, phi)


class ConvolutionalAttention(ChannelsFirstAttention):
    """The same by 1×1 convolutions on the pooled map; the values of the heads are (N, values, 1, 1)."""

    def __init__(self, operator: DynamicOperator, size: MapSize) -> None:
        super().__init__(operator, size, by_windows=True)

    def dense(self, layer: Stage, *, first: bool) -> nn.Module:
        """Return a convolution; the first one takes all cells of the pooled map at once."""
        cells = self.pool.pool if first and self.pool is not None and isinstance(layer, Dense) else (1, 1)
        return conv_of(layer.weight.reshape(len(layer.weight), -1, *cells), layer.bias)

    def row(self, source: Tensor) -> Tensor:
        """Return the pooled map, or its cells as channels where the first stage passes them on."""
        if source.dim() == 2 or self.pool is None:
            return source.reshape(source.shape[0], -1, 1, 1)
        pooled: Tensor = self.pool(source)
        takes_cells = bool(self.stages) and not self.stages[0][2]
        return pooled if takes_cells or self.pool.pool == (1, 1) else pooled.reshape(pooled.shape[0], -1, 1, 1)

    def activate(self, activation: Activation, v: Tensor) -> Tensor:
        """Return the activations; those that take all channels together find them in the last place."""
        return activation(v) if activation.name != "softmax" else activation(v.movedim(1, -1)).movedim(-1, 1)


class Pool(nn.Module):
    """Average a map (N, C, H, W) to cells, (N, C, rows, columns), or as they lie in a row.

    In the plain layout onnxruntime pools by windows one value at a time, but takes means over trailing or whole
    dimensions by vectors: 61 µs against 17 µs for the quarters of 24×56×56, but 13 µs against 19 µs for those of
    32×28×28. Quarters of even sides are such means.
    """

    whole_by_means: ClassVar[bool] = True

    def __init__(self, pool: tuple[int, int], *, by_windows: bool = False) -> None:
        super().__init__()
        self.pool, self.by_windows = pool, by_windows

    def forward(self, x: Tensor) -> Tensor:
        n, channels = x.shape[:2]
        height, width = (int(side) for side in x.shape[2:])  # of a known size; constants in torch.jit's trace too
        if self.pool == (1, 1) and self.whole_by_means and not self.by_windows:
            return x.mean((2, 3))
        rows, columns = (windows(cells, side) for cells, side in zip(self.pool, (height, width), strict=True))
        if rows is None or columns is None:
            cells = torch.matmul(x.flatten(2), pooling_matrix(self.pool, height, width, x).t())
            return cells.reshape(n, channels, *self.pool)
        kernel, stride = (rows[0], columns[0]), (rows[1], columns[1])
        quarters = self.pool == (2, 2) and kernel == stride  # not overlapping: both sides are even
        if quarters and min(kernel) >= LARGE // 2 and not self.by_windows:
            halves = x.reshape(n, 2 * channels, height // 2, width).mean(2)
            return halves.reshape(n, 4 * channels, width // 2).mean(2)
        return F.avg_pool2d(x, kernel, stride)
