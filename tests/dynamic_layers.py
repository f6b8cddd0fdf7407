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


def per_sample(x, weight, bias, *, stride, padding, dilation, groups):
    """Convolve each sample by a kernel of its own, as one grouped convolution."""
    n, _, height, width = x.shape
    weight = weight.reshape(-1, *weight.shape[2:])
    bias = None if bias is None else bias.reshape(-1)
    y = F.conv2d(x.reshape(1, -1, height, width), weight, bias, stride, padding, dilation, groups * n)
    return y.view(n, -1, *y.shape[2:])


class OverKernels(nn.Module):
    """π = softmax(fc2(relu(fc1(pool x))) / T)."""

    def __init__(self, C, M, S, *, temperature, linear=False, norm=False, hidden="relu", axis=1, pool=1):
        super().__init__()
        layer = nn.Linear if linear else lambda i, o, bias: nn.Conv2d(i, o, 1, bias=bias)
        self.avgpool = nn.AdaptiveAvgPool2d(pool)
        self.fc1 = layer(C, S, bias=False)
        self.fc2 = layer(S, M, bias=True)
        if norm:
            self.bn = (nn.BatchNorm1d if linear else nn.BatchNorm2d)(S)
        self.temperature, self.linear, self.hidden, self.axis = temperature, linear, hidden, axis

    def forward(self, x):
        v = self.avgpool(x)
        v = self.fc1(v.flatten(1) if self.linear else v)
        v = self.bn(v) if hasattr(self, "bn") else v
        v = self.fc2(getattr(F, self.hidden)(v)).flatten(1)
        return F.softmax(v / self.temperature, self.axis)


class MixedKernels(nn.Module):
    """DY-Conv as people write it."""

    def __init__(self, C=6, K=8, kernel=3, stride=1, padding=1, dilation=1, groups=1, M=4, S=3, temperature=3.0,
                 bias=True, **attention):  # fmt: skip
        super().__init__()
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self.route = OverKernels(C, M, S, temperature=temperature, **attention)
        self.weight = nn.Parameter(torch.randn(M, K, C // groups, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(M, K)) if bias else None

    def kernels(self):
        return self.weight

    def forward(self, x):
        pi = self.route(x)
        kernels = self.kernels()
        weight = torch.mm(pi, kernels.flatten(1)).view(-1, *kernels.shape[1:])
        bias = None if self.bias is None else torch.mm(pi, self.bias)
        geometry = {name: getattr(self, name) for name in ("stride", "padding", "dilation", "groups")}
        return per_sample(x, weight, bias, **geometry)


class MixedConvolutions(nn.Module):
    """DY-Conv as a list of convolutions, whose outputs are mixed."""

    def __init__(self, C=6, K=8, M=3, S=4, temperature=1.0, **conv):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(C, K, **conv) for _ in range(M)])
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(C, S), nn.SiLU(), nn.Linear(S, M))
        self.tau = temperature

    def forward(self, x):
        pi = torch.softmax(self.squeeze(x) / self.tau, -1)
        return sum(pi[:, m, None, None, None] * conv(x) for m, conv in enumerate(self.convs))


class ListedKernels(MixedKernels):
    """The kernels are a list of parameters."""

    def __init__(self, **sizes):
        super().__init__(**sizes)
        self.listed = nn.ParameterList([nn.Parameter(kernel.detach().clone()) for kernel in self.weight])
        del self.weight

    def kernels(self):
        return torch.stack(list(self.listed))


class SelfRouted(nn.Module):
    """CondConv with its routing inside."""

    def __init__(self, C=6, K=8, kernel=3, stride=1, groups=1, M=3, bias="one", dropout=0.2):
        super().__init__()
        self.fc = nn.Linear(C, M)
        self.dropout = nn.Dropout(dropout)
        self.weight = nn.Parameter(torch.randn(M, K, C // groups, kernel, kernel))
        if bias:
            self.bias = nn.Parameter(torch.zeros(*((K,) if bias == "one" else (M, K))))
        self.stride, self.padding, self.groups = (stride, stride), (kernel // 2, kernel // 2), groups

    def forward(self, x):
        routing = torch.sigmoid(self.fc(self.dropout(x.mean((2, 3)))))
        weight = torch.einsum("nm,mkcab->nkcab", routing, self.weight)
        bias = getattr(self, "bias", None)
        if bias is not None:
            bias = bias.expand(len(x), -1) if bias.dim() == 1 else routing @ bias
        return per_sample(x, weight, bias, stride=self.stride, padding=self.padding, dilation=1, groups=self.groups)


class RoutedFromOutside(nn.Module):
    """CondConv whose routing weights are an operand; its kernels are flat, its padding may depend on the map."""

    def __init__(self, C=6, K=8, kernel=3, stride=1, groups=1, M=4, same=False, bias=True):
        super().__init__()
        self.out_channels, self.kernel_size, self.stride, self.groups = K, (kernel, kernel), (stride, stride), groups
        self.padding, self.pads_as_needed = 0 if same else kernel // 2, same
        self.experts = nn.Parameter(torch.randn(M, K * (C // groups) * kernel * kernel))
        self.bias = nn.Parameter(torch.zeros(M, K)) if bias else None

    def forward(self, x, routing):
        weight = (routing @ self.experts).view(len(x), self.out_channels, -1, *self.kernel_size)
        bias = None if self.bias is None else routing @ self.bias
        if self.pads_as_needed:
            more = [max((-(-side // s) - 1) * s + k - side, 0)
                    for side, s, k in zip(x.shape[2:], self.stride, self.kernel_size, strict=True)]  # fmt: skip
            x = F.pad(x, (more[1] // 2, more[1] - more[1] // 2, more[0] // 2, more[0] - more[0] // 2))
        return per_sample(x, weight, bias, stride=self.stride, padding=self.padding, dilation=1, groups=self.groups)


class SizesInATuple(nn.Module):
    """CondConv, routed inside or from outside, that keeps the sizes of its flat kernels in ``kept(sizes)``."""

    def __init__(self, kept, C=6, K=8, kernel=3, M=4, routed=False):
        super().__init__()
        self.kept = kept((M, K, C, kernel, kernel))
        self.experts = nn.Parameter(torch.randn(M, K * C * kernel * kernel))
        self.padding = kernel // 2
        if routed:
            self.route = nn.Linear(C, M)
        self.sizes = lambda: (K, C, kernel, kernel)

    def forward(self, x, routing=None):
        if routing is None:
            routing = torch.sigmoid(self.route(x.mean((2, 3))))
        weight = (routing @ self.experts).view(len(x), *self.sizes())
        return per_sample(x, weight, None, stride=1, padding=self.padding, dilation=1, groups=1)


class FourAttentions(nn.Module):
    """The squeeze of ODConv and its heads, of which some are left out."""

    def __init__(self, C, K, kernel, M, S, *, temperature, norm, heads):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Conv2d(C, S, 1, bias=not norm)
        if norm:
            self.bn = nn.BatchNorm2d(S)
        self.relu = nn.ReLU(inplace=True)
        sizes = {"channel": C, "filter": K, "spatial": kernel * kernel, "kernel": M}
        for name in heads:
            self.add_module(f"{name}_fc", nn.Conv2d(S, sizes[name], 1))
        self.heads, self.temperature = heads, temperature

    def forward(self, x):
        a = self.fc(self.pool(x))
        a = self.relu(self.bn(a) if hasattr(self, "bn") else a)
        values = {name: getattr(self, f"{name}_fc")(a).flatten(1) / self.temperature for name in self.heads}
        return {name: torch.softmax(v, 1) if name == "kernel" else torch.sigmoid(v) for name, v in values.items()}


class OmniDimensional(nn.Module):
    """ODConv as people write it."""

    def __init__(self, C=6, K=8, kernel=3, stride=1, padding=1, groups=1, M=4, S=5, temperature=1.0, norm=True,
                 heads=("channel", "filter", "spatial", "kernel"), bias=False):  # fmt: skip
        super().__init__()
        self.attention = FourAttentions(C, K, kernel, M, S, temperature=temperature, norm=norm, heads=heads)
        self.weight = nn.Parameter(torch.randn(M, K, C // groups, kernel, kernel))
        if bias:
            self.bias = nn.Parameter(torch.zeros(K))
        self.stride, self.padding, self.dilation, self.groups = stride, padding, 1, groups

    def forward(self, x):
        heads = self.attention(x)
        weight = self.weight[None]
        if "spatial" in heads:
            weight = weight * heads["spatial"].view(len(x), 1, 1, 1, *self.weight.shape[3:])
        if "kernel" in heads:
            weight = weight * heads["kernel"][:, :, None, None, None, None]
        weight = weight.sum(1).expand(len(x), *self.weight.shape[1:])
        if "channel" in heads:
            x = x * heads["channel"][:, :, None, None]
        y = per_sample(
            x, weight, None, stride=self.stride, padding=self.padding, dilation=self.dilation, groups=self.groups
        )
        if "filter" in heads:
            y = y * heads["filter"][:, :, None, None]
        return y + self.bias[:, None, None] if hasattr(self, "bias") else y
