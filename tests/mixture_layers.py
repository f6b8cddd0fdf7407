"""Dynamic layers that mix whole kernels or scale one, as people write them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


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
        return per_sample(x, weight, bias, **self.geometry())

    def geometry(self):
        return {name: getattr(self, name) for name in ("stride", "padding", "dilation", "groups")}


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


class Experts(nn.Module):
    """Convolutions under names of their own, whose outputs are mixed: by a softmax, or by sigmoids as CondConv does."""

    def __init__(self, C=6, K=8, M=3, S=None, temperature=34.0, **conv):
        super().__init__()
        for m in range(M):
            self.add_module(f"conv{m + 1}", nn.Conv2d(C, K, **conv))
        squeeze = [nn.Linear(C, S, bias=False), nn.ReLU()] if S else [nn.Dropout(0.2)]
        self.fc = nn.Sequential(*squeeze, nn.Linear(S or C, M))
        self.M, self.S, self.temperature = M, S, temperature

    def forward(self, x):
        v = self.fc(x.mean((2, 3)))
        shares = torch.softmax(v / self.temperature, 1) if self.S else torch.sigmoid(v)
        outputs = [getattr(self, f"conv{m + 1}")(x) for m in range(self.M)]
        return (torch.stack(outputs, 1) * shares[:, :, None, None, None]).sum(1)


class ListedKernels(MixedKernels):
    """The kernels are a list of parameters."""

    def __init__(self, **sizes):
        super().__init__(**sizes)
        self.listed = nn.ParameterList([nn.Parameter(kernel.detach().clone()) for kernel in self.weight])
        del self.weight

    def kernels(self):
        return torch.stack(list(self.listed))


class StackedKernels(nn.Conv2d):
    """DY-Conv as a convolution of M·K outputs, whose weight is read as M kernels, or as K rows of M."""

    def __init__(self, C=6, K=8, M=3, rows=False, one_bias=False, **conv):
        super().__init__(C, M * K, **conv)
        if one_bias:
            self.bias = nn.Parameter(torch.zeros(K))
        self.se_conv1, self.act, self.se_conv2 = nn.Conv2d(C, 4, 1), nn.ReLU(inplace=True), nn.Conv2d(4, M, 1)
        self.M, self.rows, self.one_bias = M, rows, one_bias

    def mixed(self, shares, one):
        kernels = one.unflatten(0, (-1, self.M)).transpose(0, 1) if self.rows else one.unflatten(0, (self.M, -1))
        return torch.einsum("nm,m...->n...", shares, kernels)

    def forward(self, x):
        shares = self.se_conv2(self.act(self.se_conv1(x.mean((2, 3), keepdim=True)))).flatten(1).softmax(1)
        bias = self.bias
        if bias is not None:
            bias = bias.expand(len(x), -1) if self.one_bias else self.mixed(shares, bias)
        geometry = {name: getattr(self, name) for name in ("stride", "padding", "dilation", "groups")}
        return per_sample(x, self.mixed(shares, self.weight), bias, **geometry)


class SettingsInADict(MixedKernels):
    """Some of its settings, or all, stand in a dict, for ``F.conv2d``."""

    def __init__(self, moved, **sizes):
        super().__init__(**sizes)
        self.conv_args = {name: vars(self).pop(name) for name in moved}

    def geometry(self):
        return {name: getattr(self, name, 1) for name in ("stride", "padding", "dilation", "groups")} | self.conv_args


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


class KernelsAsMatrices(nn.Module):
    """CondConv whose kernels are matrices, (M, K, C·kernel²), routed inside or from outside."""

    def __init__(self, C=6, K=8, kernel=1, M=4, routed=False):
        super().__init__()
        self.experts = nn.Parameter(torch.randn(M, K, C * kernel * kernel))
        self.stride, self.padding, self.M = 1, kernel // 2, M
        if kernel > 1:
            self.kernel_size = kernel
        if routed:
            self.route = nn.Linear(C, M)

    def forward(self, x, routing=None):
        if routing is None:
            routing = torch.sigmoid(self.route(x.mean((2, 3))))
        side = 2 * self.padding + 1
        weight = torch.einsum("nm,mkc->nkc", routing, self.experts).unflatten(2, (-1, side, side))
        return per_sample(x, weight, None, stride=self.stride, padding=self.padding, dilation=1, groups=1)


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
