"""Operators to lower: the published layers by hand, and any family at random; and lowerings on maps (N, C, H, W)."""

import torch
from torch import Tensor, nn

from dcd_deploy.dynamic.attention import Activation, Attention, Dense, Gated
from dcd_deploy.dynamic.folds import affine, with_norm
from dcd_deploy.dynamic.operator import (
    FILTERS,
    INPUTS,
    KERNELS,
    PHI,
    SCALE,
    TAPS,
    ConvGeometry,
    DynamicOperator,
    LowRank,
    Mixture,
    RowScaled,
)
from dcd_deploy.lowering.channels_last.operators import to_channels_first, to_channels_last
from dcd_deploy.lowering.lowering import Lowering
from dcd_deploy.models.dynamic import DynamicLayer, DynamicLinear

GATE = Activation("hardsigmoid", 2.0)


def weight_of(module: nn.Module, inside: str) -> Tensor:
    """The weight of the module called ``inside`` within a module."""
    return module.get_submodule(inside).get_parameter("weight").detach()


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


FAMILIES = ("decomposition", "row scaled", "low rank", "mixture", "all terms")
SQUASHING = ("sigmoid", "hardsigmoid", "tanh", "softmax", "identity")


class Random:
    """Operators at random; the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def tensor(self, *shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=self.generator)

    def pick(self, *choices):
        return choices[int(torch.randint(len(choices), (), generator=self.generator))]

    def maybe(self, *shape: int) -> Tensor | None:
        return self.pick(self.tensor(*shape), None)

    def activation(self, *names: str) -> Activation:
        return Activation(self.pick(*names), self.pick(1.0, 2.0, 0.5), self.pick(1.0, 3.0))

    def attention(self, heads: dict[str, int], channels: int, pool, own: bool) -> Attention:
        """Heads by name and number of values, on a source of so many channels, or values."""
        width = channels * (pool[0] * pool[1] if pool else 1)
        stages = []
        for _ in range(self.pick(0, 1, 1, 2)):
            squeezed = self.pick(3, 5)
            activation = self.activation("relu", "identity", "silu", "hardswish", "relu6", "hardsigmoid", "gelu")
            stages.append(Dense(self.tensor(squeezed, width), self.maybe(squeezed), activation))
            width = squeezed
        if self.pick(True, False):
            gate = self.activation("sigmoid", "hardsigmoid")
            stages.append(Gated(self.tensor(width, width), self.maybe(width), gate))
        return Attention(pool, tuple(stages), {name: self.head(values, width) for name, values in heads.items()}, own)

    def head(self, values: int, width: int) -> Dense | None:
        """A head of so many values, for stages that give ``width``."""
        if values == width and self.pick(True, False):
            return None
        return Dense(self.tensor(values, width), self.maybe(values), self.activation(*SQUASHING))

    def terms(self, family: str, g: ConvGeometry) -> tuple[tuple, dict[str, int]]:
        """The terms, and how many values each head has."""
        terms, heads = [], {}
        shape = (g.K, g.C // g.groups, *g.kernel)
        if family in ("decomposition", "row scaled", "all terms"):
            terms.append(RowScaled(self.tensor(*shape), self.maybe(g.K)))
            heads[SCALE] = g.K
        if family in ("decomposition", "low rank", "all terms"):
            latent = self.pick(1, 3)
            shifts = self.maybe(latent), self.maybe(latent)
            terms.append(LowRank(self.tensor(g.K, latent), self.tensor(latent, g.C), *shifts))
            heads[PHI] = latent**2
        if family in ("mixture", "all terms"):
            kernels = self.pick(1, 4)
            terms.append(Mixture(self.tensor(kernels, *shape), self.maybe(kernels, g.K)))
            heads[KERNELS] = kernels
            scales = ((FILTERS, g.K), (INPUTS, g.C), (TAPS, g.taps))
            heads |= {name: values for name, values in scales if self.pick(True, False, False)}
        return tuple(terms), heads

    def operator(self, family: str, g: ConvGeometry, source: str) -> DynamicOperator:
        """``source`` is "own", "map" (of 5 channels) or "vector" (of 4 values)."""
        terms, heads = self.terms(family, g)
        channels = {"own": g.C, "map": 5, "vector": 4}[source]
        has_map = source == "map" or (source == "own" and not g.vector)
        pool = self.pick((1, 1), (1, 1), (2, 2), (3, 3), (1, 2), (3, 2)) if has_map else None
        attention = self.attention(heads, channels, pool, source == "own")
        return DynamicOperator(family, g, attention, terms, self.maybe(g.K))
