"""The dynamic layers in train form: what the paper trains, under the names that published checkpoints use.

    g = pool(x)                              (N, C·pool²)   channel-major
    a = fc.0 g;  a = a ⊙ gate(fc.1.fc.0 a)   (N, S)         gate(v) = relu6(v + 3) / 3, range 0..2
    Φ = fc_phi a                             (N, L, L)
    λ = gate(fc_scale a)                     (N, K)
    q = bn1(Q x)                             (N, L, H·W)
    y = λ ⊙ (W0 * x) + P (bn2(Φ q) + q)      (N, K, H·W)

Nothing here is fast; everything here is the reference that the deploy form is checked against, in float64.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.models.geometry import LayerGeometry


def gate(v: Tensor) -> Tensor:
    """Return relu6(v + 3) / 3, the attention's activation, which lies in 0..2 and is 1 at v = 0."""
    return F.relu6(v + 3.0) / 3.0


class SqueezeGate(nn.Module):
    """a ↦ a ⊙ gate(fc a), the squeeze's own attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(width, width, bias=False))

    def forward(self, a: Tensor) -> Tensor:
        gated: Tensor = a * gate(self.fc(a))
        return gated


class DynamicLayer(nn.Module):
    """The squeeze branch that every dynamic layer has: from the pooled input to Φ and λ."""

    def __init__(self, geometry: LayerGeometry) -> None:
        super().__init__()
        g = self.geometry = geometry
        self.fc = nn.Sequential(nn.Linear(g.squeezed_from, g.S, bias=False), SqueezeGate(g.S))
        self.fc_phi = nn.Linear(g.S, g.L * g.L, bias=False)
        self.fc_scale = nn.Linear(g.S, g.K, bias=False)

    def attention(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Return Φ (N, L, L) and λ (N, K) for a pooled input (N, C·pool²)."""
        a = self.fc(pooled)
        phi = self.fc_phi(a).view(-1, self.geometry.L, self.geometry.L)
        return phi, gate(self.fc_scale(a))


class DynamicConv2d(DynamicLayer):
    """A dynamic convolution. Subclasses say under which names W0, Q and P are stored.

    W0 is k×k; Q is 1×1 with W0's stride and no padding, so the dynamic part acts on the centre tap.
    """

    STATIC, QUERY, PROJECT = "conv", "q", "p"

    def __init__(self, geometry: LayerGeometry) -> None:
        super().__init__(geometry)
        g = geometry
        self.add_module(self.STATIC, nn.Conv2d(g.C, g.K, g.kernel, g.stride, g.padding, bias=False))
        self.add_module(self.QUERY, nn.Conv2d(g.C, g.L, 1, g.stride, bias=False))
        self.add_module(self.PROJECT, nn.Conv2d(g.L, g.K, 1, bias=False))
        self.bn1 = nn.BatchNorm1d(g.L)
        self.bn2 = nn.BatchNorm1d(g.L)

    @property
    def static(self) -> nn.Module:
        """W0, the convolution that does not depend on the input."""
        return self.get_submodule(self.STATIC)

    @property
    def query(self) -> nn.Module:
        """Q, the compression into the latent space."""
        return self.get_submodule(self.QUERY)

    @property
    def project(self) -> nn.Module:
        """P, the expansion out of the latent space."""
        return self.get_submodule(self.PROJECT)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, K, H', W')."""
        phi, scale = self.attention(F.adaptive_avg_pool2d(x, self.geometry.pool).flatten(1))
        q_map = self.query(x)
        q = self.bn1(q_map.flatten(2))  # (N, L, H'·W')
        mixed = self.bn2(torch.bmm(phi, q)) + q
        dynamic: Tensor = self.project(mixed.view_as(q_map))
        y: Tensor = self.static(x) * scale[:, :, None, None] + dynamic
        return y


class MobileNetDynamicConv(DynamicConv2d):
    """The 1×1 layer of MobileNetV2-DCD; checkpoints call its parts ``conv``, ``conv_q`` and ``conv_p``."""

    QUERY, PROJECT = "conv_q", "conv_p"


class ResNetDynamicConv(DynamicConv2d):
    """The 1×1 or 3×3 layer of ResNet-DCD; checkpoints call its parts ``conv``, ``q`` and ``p``."""


class DynamicLinear(DynamicLayer):
    """The dynamic classifier: the same equation on a vector, its bias inside λ."""

    def __init__(self, geometry: LayerGeometry) -> None:
        super().__init__(geometry)
        g = geometry
        self.cls = nn.Linear(g.C, g.K)
        self.cls_q = nn.Linear(g.C, g.L, bias=False)
        self.cls_p = nn.Linear(g.L, g.K, bias=False)
        self.bn1 = nn.BatchNorm1d(g.L)
        self.bn2 = nn.BatchNorm1d(g.L)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C) to (N, K)."""
        phi, scale = self.attention(x)
        q = self.bn1(self.cls_q(x))  # (N, L)
        mixed = self.bn2(torch.bmm(phi, q[:, :, None]).squeeze(2)) + q
        logits: Tensor = self.cls(x) * scale + self.cls_p(mixed)
        return logits
