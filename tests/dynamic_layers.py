"""Dynamic layers as people write them, under names of our own: what the adapters are tried on.

Every BatchNorm has statistics and weights that are no identity; ``lively`` gives them to a module.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def lively(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give all norms statistics, and all weights a size at which gates and softmaxes are neither flat nor saturated."""
    generator = torch.Generator().manual_seed(seed)

    def random(like: Tensor, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(like.shape, generator=generator, dtype=like.dtype)

    with torch.no_grad():
        for part in module.modules():
            if getattr(part, "running_var", None) is not None:
                part.running_mean.copy_(random(part.running_mean, -1, 1))
                part.running_var.copy_(random(part.running_var, 0.3, 2))
            if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm)) and part.weight is not None:
                part.weight.copy_(random(part.weight, 0.5, 1.5))
                part.bias.copy_(random(part.bias, -1, 1))
            elif isinstance(part, (nn.Linear, nn.Conv2d)):
                bound = 1.7 / math.sqrt(part.weight[0].numel())
                part.weight.copy_(random(part.weight, -bound, bound))
                if part.bias is not None:
                    part.bias.copy_(random(part.bias, -0.5, 0.5))
        for _, parameter in module.named_parameters(recurse=False):
            parameter.copy_(random(parameter, -0.5, 0.5))
    return module.double().eval()


class SixthOfThree(nn.Module):
    """relu6(v + 3) / by, the gate, as a module of its own."""

    def __init__(self, by: float = 3.0):
        super().__init__()
        self.by = by
        self.clip = nn.ReLU6(inplace=True)

    def forward(self, v):
        return self.clip(v + 3) / self.by


GATES = {
    "third": lambda v: F.relu6(v + 3) / 3,
    "sixth": lambda v: F.relu6(v + 3) / 6,
    "hard": F.hardsigmoid,
    "sigmoid": torch.sigmoid,
    "twice": lambda v: 2 * torch.sigmoid(v),
}
GATE_MODULES = {
    "third": SixthOfThree,
    "sixth": lambda: SixthOfThree(6.0),
    "hard": nn.Hardsigmoid,
    "sigmoid": nn.Sigmoid,
}


class SelfWeighing(nn.Module):
    """a ↦ a ⊙ gate(W a + b), its gate a module inside or a function."""

    def __init__(self, width, gate, *, bias, held):
        super().__init__()
        layers = [nn.Linear(width, width, bias=bias)]
        self.fc = nn.Sequential(*layers, *([GATE_MODULES[gate]()] if held else []))
        self.gate = (lambda v: v) if held else GATES[gate]

    def forward(self, a):
        return a * self.gate(self.fc(a))


class Decomposed(nn.Module):
    """The published layer, with what people change in it; C in, K out, L latent, S squeeze."""

    NAMES = ("conv", "q", "p", "fc_phi", "fc_scale")

    def __init__(self, C=6, K=10, L=3, S=5, kernel=1, stride=1, padding=None, dilation=1, pool=1, gate="third",
                 held=True, norms=(1, 2), plus_query=True, bias=False, part_bias=False, eps=1e-5, dropout=0.0,
                 holds_pool=True, mask=False, norm=nn.BatchNorm1d, out_norm=False, weigh=True):  # fmt: skip
        super().__init__()
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = tuple(dilation * (k - 1) // 2 for k in kernel) if padding is None else padding
        static, query, project, phi, scale = self.NAMES
        self.add_module(static, nn.Conv2d(C, K, kernel, stride, padding, dilation, bias=bias))
        self.add_module(query, nn.Conv2d(C, L, 1, stride, bias=part_bias))
        self.add_module(project, nn.Conv2d(L, K, 1, bias=part_bias))
        if 1 in norms:
            self.bn1 = norm(L, eps=eps)
        if 2 in norms:
            self.bn2 = norm(L, eps=eps)
        if out_norm:
            self.bn_out = nn.BatchNorm2d(K, eps=eps)
        if holds_pool:
            self.avg_pool = nn.AdaptiveAvgPool2d(pool)
        squeeze = nn.Linear(C * pool * pool, S, bias=part_bias)
        weighing = [SelfWeighing(S, gate, bias=part_bias, held=held)] if weigh else []
        self.fc = nn.Sequential(squeeze, *weighing)
        self.add_module(phi, nn.Linear(S, L * L, bias=part_bias))
        self.add_module(scale, nn.Linear(S, K, bias=part_bias))
        if held:
            self.hs = GATE_MODULES[gate]()
        if mask:
            self.register_buffer("mask", (torch.arange(L * L) % 3 > 0).double().view(L, L))
            self.phi_static = nn.Parameter(torch.ones(L, L))
        self.drop = nn.Dropout(dropout)
        self.dim, self.pool, self.gate, self.held, self.plus_query = L, pool, gate, held, plus_query

    def parts(self):
        return [getattr(self, name) for name in self.NAMES]

    def attention(self, x):
        pooled = self.avg_pool(x) if hasattr(self, "avg_pool") else F.adaptive_avg_pool2d(x, self.pool)
        a = self.fc(pooled.view(pooled.shape[0], -1))
        *_, to_phi, to_scale = self.parts()
        phi = self.drop(to_phi(a)).view(-1, self.dim, self.dim)
        gate = self.hs if self.held else GATES[self.gate]
        scale = gate(self.drop(to_scale(a)))
        if hasattr(self, "mask"):
            phi = phi * self.mask + self.phi_static * (1 - self.mask)
        return phi, scale

    def forward(self, x):
        return self.combined(x, *self.attention(x))

    def combined(self, x, phi, scale):
        static, query, project, _, _ = self.parts()
        y = static(x) * scale[:, :, None, None]
        q = query(x)
        n, _, height, width = q.shape
        q = q.view(n, self.dim, -1)
        q = self.bn1(q) if hasattr(self, "bn1") else q
        mixed = torch.bmm(phi, q)
        mixed = self.bn2(mixed) if hasattr(self, "bn2") else mixed
        mixed = mixed + q if self.plus_query else mixed
        y = y + project(mixed.view(n, self.dim, height, width))
        return self.bn_out(y) if hasattr(self, "bn_out") else y


class DecomposedOtherwiseNamed(Decomposed):
    NAMES = ("conv", "conv_q", "conv_p", "fc_phi", "fc_scale")


class DecomposedNameless(Decomposed):
    """Nothing but the sizes tells what the parts are."""

    NAMES = ("a", "b", "c", "d", "e")


class DecomposedFromOutside(Decomposed):
    """Its attention looks at another map."""

    def forward(self, x, seen):
        return self.combined(x, *self.attention(seen))


class ScaledAfterTheSum(Decomposed):
    """λ scales the dynamic part too: a function of its own."""

    def combined(self, x, phi, scale):
        return super().combined(x, phi, torch.ones_like(scale)) * scale[:, :, None, None]


class OtherwiseWhenLarge(Decomposed):
    """What the published layer is on small maps alone, so that a network's example does not show it."""

    def combined(self, x, phi, scale):
        y = super().combined(x, phi, scale)
        return y + (x.abs().amax((1, 2, 3), keepdim=True) > 100).to(y)


class PhiVaries(Decomposed):
    """Φ differs between the halves of the map."""

    def combined(self, x, phi, scale):
        y = super().combined(x, phi, scale)
        half = x.shape[3] // 2
        y[..., half:] = super().combined(x, phi.mT, scale)[..., half:]
        return y


class WideQuery(Decomposed):
    """Q is 3×3."""

    def __init__(self, **sizes):
        super().__init__(**sizes)
        self.q = nn.Conv2d(self.q.in_channels, self.q.out_channels, 3, padding=1, bias=False)


class NormsBesideTheirConvolutions(Decomposed):
    """Each convolution and its norm in one Sequential."""

    def __init__(self, **sizes):
        super().__init__(norms=(2,), **sizes)
        K, L = self.conv.out_channels, self.dim
        self.conv = nn.Sequential(self.conv, nn.BatchNorm2d(K), nn.Identity())
        self.q = nn.Sequential(self.q, nn.BatchNorm2d(L))
        self.p = nn.Sequential(self.p, nn.BatchNorm2d(K))


class SqueezedByConvolutions(Decomposed):
    """The attention is made of 1×1 convolutions of the pooled map."""

    def __init__(self, C=6, K=10, L=3, S=5):
        super().__init__(C, K, L, S)
        weighing = SelfWeighing(S, "third", bias=False, held=True)
        weighing.fc[0] = nn.Conv2d(S, S, 1)
        self.fc = nn.Sequential(nn.Conv2d(C, S, 1, bias=False), weighing)
        self.fc_phi, self.fc_scale = nn.Conv2d(S, L * L, 1), nn.Conv2d(S, K, 1)

    def attention(self, x):
        a = self.fc(self.avg_pool(x))
        return self.fc_phi(a).view(-1, self.dim, self.dim), self.hs(self.fc_scale(a)).flatten(1)


class Squeeze(nn.Module):
    """The attention of the layer below, as a module of its own."""

    def __init__(self, C, K, L, S):
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(C, S, bias=False), SelfWeighing(S, "third", bias=False, held=True))
        self.fc_phi, self.fc_scale, self.hs = nn.Linear(S, L * L), nn.Linear(S, K), SixthOfThree()
        self.dim = L

    def forward(self, x):
        a = self.fc(x.mean((2, 3)))
        return self.fc_phi(a).view(-1, self.dim, self.dim), self.hs(self.fc_scale(a))


class AttentionApart(Decomposed):
    """The attention is a module inside the layer."""

    def __init__(self, C=6, K=10, L=3, S=5):
        super().__init__(C, K, L, S)
        del self.fc, self.fc_phi, self.fc_scale, self.avg_pool, self.hs
        self.squeeze = Squeeze(C, K, L, S)

    def parts(self):
        return self.conv, self.q, self.p, None, None

    def attention(self, x):
        return self.squeeze(x)


class FrozenNorm(nn.Module):
    """A BatchNorm of buffers alone, of no class of torch."""

    def __init__(self, channels, eps=1e-5):
        super().__init__()
        self.eps = eps
        for name, value in (("weight", 0.7), ("bias", 0.2), ("running_mean", 0.4), ("running_var", 1.3)):
            self.register_buffer(name, torch.full((channels,), value))

    def forward(self, x):
        mean, var, weight, bias = (b[:, None] for b in (self.running_mean, self.running_var, self.weight, self.bias))
        return (x - mean) / torch.sqrt(var + self.eps) * weight + bias


class DecomposedLine(nn.Module):
    """The layer for signals."""

    def __init__(self, C=6, K=10, L=3, S=5):
        super().__init__()
        self.conv, self.q, self.p = nn.Conv1d(C, K, 3), nn.Conv1d(C, L, 1), nn.Conv1d(L, K, 1)
        self.fc, self.fc_phi, self.fc_scale = nn.Linear(C, S), nn.Linear(S, L * L), nn.Linear(S, K)


class DecomposedVector(nn.Module):
    """The classifier of the published networks."""

    NAMES = ("cls", "cls_q", "cls_p")

    def __init__(self, C=12, K=7, L=4, S=4, bias=True, plus_query=True, gate="third"):
        super().__init__()
        self.cls = nn.Linear(C, K, bias=bias)
        self.cls_q = nn.Linear(C, L, bias=False)
        self.cls_p = nn.Linear(L, K, bias=False)
        self.fc = nn.Sequential(nn.Linear(C, S, bias=False), SelfWeighing(S, gate, bias=False, held=True))
        self.fc_phi = nn.Linear(S, L * L, bias=False)
        self.fc_scale = nn.Linear(S, K, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm1d(L), nn.BatchNorm1d(L)
        self.hs = GATE_MODULES[gate]()
        self.dim, self.plus_query = L, plus_query

    def forward(self, x):
        a = self.fc(x)
        phi = self.fc_phi(a).view(-1, self.dim, self.dim)
        q = self.bn1(self.cls_q(x))
        mixed = self.bn2(torch.matmul(phi, q.unsqueeze(2)).squeeze(2))
        mixed = mixed + q if self.plus_query else mixed
        return self.cls(x) * self.hs(self.fc_scale(a)) + self.cls_p(mixed)
