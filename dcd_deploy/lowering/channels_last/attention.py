"""The attention, channels last: from its source to the values of the heads, each (N, 1, 1, values).

The runtime's fused activation is relu6, so a hard sigmoid is spelled relu6(v + 3) / 6 (``activations.with_relu6``).
"""

from __future__ import annotations

from torch import Tensor, nn

from dcd_deploy.dynamic.attention import Dense, Gated, Stage
from dcd_deploy.dynamic.operator import PHI, DynamicOperator, LowRank
from dcd_deploy.dynamic.shape import MapSize
from dcd_deploy.lowering.assemble.attention import HeadValues, in_order, stage_names
from dcd_deploy.lowering.assemble.windows import pooling_matrix, windows, without_copies
from dcd_deploy.lowering.channels_last.operators import average_pool_2d, batch_matmul
from dcd_deploy.lowering.channels_last.parts import conv, dense


class ChannelsLastAttention(nn.Module):
    """Map a source (N, H, W, C), (N, 1, 1, values) or (N, values), to the values of the heads.

    The operator has Φ by columns.
    """

    def __init__(self, operator: DynamicOperator, size: MapSize) -> None:
        super().__init__()
        attention, low_rank = without_copies(operator, size).attention, operator.term(LowRank)
        self.latent = 0 if low_rank is None else low_rank.latent
        self.pool = attention.pool
        square = self.pool is not None and self.pool[0] == self.pool[1]
        self.takes_cells = square and bool(attention.stages) and isinstance(attention.stages[0], Dense)
        stages, heads = list(stage_names(attention.stages)), in_order(attention.heads)
        self.stages = [(name, stage.activation, isinstance(stage, Gated)) for name, stage in stages]
        self.heads = [(name, None if head is None else head.activation) for name, head in heads]
        for name, layer in (*stages, *heads):
            if layer is not None:
                first = self.takes_cells and name == stages[0][0]
                self.add_module(name, _layer(layer, self.pool if first else None))

    def forward(self, source: Tensor) -> HeadValues:
        a = self._pooled(source)
        for name, activation, gated in self.stages:
            value = activation(self.get_submodule(name)(a))
            a = a * value if gated else value
        heads: dict[str, Tensor] = {}
        phi = None
        for name, head in self.heads:
            heads[name] = a if head is None else head(self.get_submodule(name)(a))
            if name == PHI:
                phi = heads[name].reshape(-1, 1, self.latent, self.latent)
        return HeadValues(heads, a, phi)

    def _pooled(self, source: Tensor) -> Tensor:
        """Return the cells (N, rows, columns, C) as the first stage takes them, else in a row (N, 1, 1, values)."""
        if source.dim() == 2 or self.pool is None:
            return source.reshape(source.shape[0], 1, 1, -1) if source.dim() == 2 else source
        n, height, width, channels = source.shape
        rows, columns = (windows(cells, side) for cells, side in zip(self.pool, (height, width), strict=True))
        if rows is None or columns is None:
            matrix = pooling_matrix(self.pool, height, width, source)[None, None]
            pooled = batch_matmul(matrix, source.reshape(n, 1, height * width, channels))
            pooled = pooled.reshape(n, *self.pool, channels)
        elif (rows[0], columns[0]) == (1, 1):
            pooled = source
        else:
            pooled = average_pool_2d(source, (rows[0], columns[0]), (rows[1], columns[1]))
        if self.takes_cells or self.pool == (1, 1):
            return pooled
        return pooled.permute(0, 3, 1, 2).reshape(n, 1, 1, -1)


def _layer(layer: Stage, pool: tuple[int, int] | None) -> nn.Module:
    if pool is None:
        return dense(layer.weight, layer.bias)
    return conv(layer.weight.reshape(len(layer.weight), -1, *pool), layer.bias)
