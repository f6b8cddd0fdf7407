"""Operators to lower: the published layers by hand, and any family at random; and lowerings on maps (N, C, H, W)."""

import torch
from torch import Tensor, nn

from dcd_deploy.dynamic.attention import Activation, Attention, Dense, Gated
from dcd_deploy.dynamic.folds import affine, with_norm
from dcd_deploy.dynamic.operator import PHI, SCALE, ConvGeometry, DynamicOperator, LowRank, RowScaled
from dcd_deploy.lowering.channels_last.operators import to_channels_first, to_channels_last
from dcd_deploy.lowering.lowering import Lowering
from dcd_deploy.models.deploy.fold import weight_of
from dcd_deploy.models.dynamic import DynamicLayer, DynamicLinear

GATE = Activation("hardsigmoid", 2.0)


def published(layer: DynamicLayer, norm: nn.Module | None = None) -> DynamicOperator:
    """The canonical operator of a published layer, with the norm behind it."""
    g, vector = layer.geometry, isinstance(layer, DynamicLinear)
    (s1, t1), (s2, t2) = affine(layer.bn1), affine(layer.bn2)
    names = ("cls", "cls_q", "cls_p") if vector else (layer.STATIC, layer.QUERY, layer.PROJECT)
    static, query, project = (weight_of(layer, name).flatten(1) for name in names)
    phi = s2[:, None, None] * layer.fc_phi.weight.detach().view(g.L, g.L, g.S)
    stages = (Dense(weight_of(layer, "fc.0")), Gated(weight_of(layer, "fc.1.fc.0"), None, GATE))
    heads = {
        PHI: Dense(phi.flatten(0, 1), torch.eye(g.L, dtype=phi.dtype).flatten()),
        SCALE: Dense(layer.fc_scale.weight.detach(), None, GATE),
    }
    sides = [(side, side) for side in (g.kernel, g.stride, g.padding)]
    operator = DynamicOperator(
        "dcd",
        ConvGeometry(g.C, g.K, *sides, vector=vector),
        Attention(None if vector else (g.pool, g.pool), stages, heads),
        (
            RowScaled(static.view(g.K, g.C, g.kernel, g.kernel), layer.cls.bias.detach() if vector else None),
            LowRank(project, s1[:, None] * query, t1, t2),
        ),
    )
    return operator if norm is None else with_norm(operator, *affine(norm))


class OnChannelsFirst(nn.Module):
    """A channels-last lowering that is given maps (N, C, H, W), or vectors (N, C)."""

    def __init__(self, lowering: Lowering) -> None:
        super().__init__()
        self.lowering = lowering

    def forward(self, x: Tensor, operand: Tensor | None = None) -> Tensor:
        if operand is not None and operand.dim() == 4:
            operand = to_channels_last(operand)
        if x.dim() == 2:
            return self.lowering(x[:, None, None], operand).flatten(1)
        return to_channels_first(self.lowering(to_channels_last(x), operand))
