"""The dynamic layers in train form: what the paper trains, under the names that published checkpoints use.

    g = pool(x)                              (N, C·pool²)   channel-major
    a = fc.0 g;  a = a ⊙ gate(fc.1.fc.0 a)   (N, S)         gate(v) = relu6(v + 3) / 3, range 0..2
    Φ = fc_phi a                             (N, L, L)
    λ = gate(fc_scale a)                     (N, K)
    q = bn1(Q x)                             (N, L, H·W)
    y = λ ⊙ (W0 * x) + P (bn2(Φ q) + q)      (N, K, H·W)

This is the published layer. In the wild it varies: the gate, the "+ q", BatchNorms that are missing, biases. What the
tensors tell of that is in ``LayerGeometry``, what they cannot tell in ``Constants``.

Nothing here is fast; everything here is the reference that the deploy form is checked against, in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.models.geometry import NORMS, LayerGeometry
from dcd_deploy.models.spec import PUBLISHED_GATE, NetworkSpec


def gate(v: Tensor) -> Tensor:
    """Return relu6(v + 3) / 3, the attention's activation, which lies in 0..2 and is 1 at v = 0."""
    return F.relu6(v + 3.0) / 3.0


GATES: dict[str, Callable[[Tensor], Tensor]] = {
    PUBLISHED_GATE: gate,
    "relu6/6": lambda v: F.relu6(v + 3.0) / 6.0,
    "sigmoid": torch.sigmoid,
}


@dataclass(frozen=True)
class Constants:
    """What no tensor tells: the name of the gate, and whether q is added to bn2(Φ q)."""

    gate: str = PUBLISHED_GATE
    residual_q: bool = True

    def gated(self, v: Tensor) -> Tensor:
        """Return the gate of v."""
        return gate(v) if self.gate == PUBLISHED_GATE else GATES[self.gate](v)

    @classmethod
    def of(cls, spec: NetworkSpec) -> Constants:
        """Return those of a network."""
        return cls(spec.gate, spec.residual_q)


PUBLISHED = Constants()


class SqueezeGate(nn.Module):
    """a ↦ a ⊙ gate(fc a), the squeeze's own attention."""

    def __init__(self, width: int, constants: Constants = PUBLISHED, *, bias: bool = False) -> None:
        super().__init__()
        self.constants = constants
        self.fc = nn.Sequential(nn.Linear(width, width, bias=bias))

    def forward(self, a: Tensor) -> Tensor:
        gated: Tensor = a * self.constants.gated(self.fc(a))
        return gated


class DynamicLayer(nn.Module):
    """The squeeze branch that every dynamic layer has: from the pooled input to Φ and λ."""

    bn1: nn.Module
    bn2: nn.Module

    def __init__(self, geometry: LayerGeometry, constants: Constants = PUBLISHED) -> None:
        super().__init__()
        g = self.geometry = geometry
        self.constants = constants
        biased = set(g.biases)
        squeeze_gate = SqueezeGate(g.S, constants, bias="fc.1.fc.0" in biased)
        self.fc = nn.Sequential(nn.Linear(g.squeezed_from, g.S, bias="fc.0" in biased), squeeze_gate)
        self.fc_phi = nn.Linear(g.S, g.L * g.L, bias="fc_phi" in biased)
        self.fc_scale = nn.Linear(g.S, g.K, bias="fc_scale" in biased)

    def add_norms(self) -> None:
        """Add bn1 and bn2, the last parts of every layer; where there is none the identity stands for it."""
        for name in NORMS:
            self.add_module(name, nn.BatchNorm1d(self.geometry.L) if name in self.geometry.norms else nn.Identity())

    def attention(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Return Φ (N, L, L) and λ (N, K) for a pooled input (N, C·pool²)."""
        a = self.fc(pooled)
        phi = self.fc_phi(a).view(-1, self.geometry.L, self.geometry.L)
        return phi, self.constants.gated(self.fc_scale(a))

    def mixed(self, phi: Tensor, q: Tensor) -> Tensor:
        """Return bn2(Φ q) + q for Φ (N, L, L) and q (N, L, P)."""
        return self.plus_q(self.bn2(torch.bmm(phi, q)), q)

    def plus_q(self, product: Tensor, q: Tensor) -> Tensor:
        """Return the sum with q, where that is part of the layer."""
        return product + q if self.constants.residual_q else product


class DynamicConv2d(DynamicLayer):
    """A dynamic convolution. Subclasses say under which names W0, Q and P are stored.

    W0 is k×k; Q is 1×1 with W0's stride and no padding, so the dynamic part acts on the centre tap.
    """

    STATIC, QUERY, PROJECT = "conv", "q", "p"

    def __init__(self, geometry: LayerGeometry, constants: Constants = PUBLISHED) -> None:
        super().__init__(geometry, constants)
        g, biased = geometry, set(geometry.biases)
        self.add_module(self.STATIC, nn.Conv2d(g.C, g.K, g.kernel, g.stride, g.padding, bias=self.STATIC in biased))
        self.add_module(self.QUERY, nn.Conv2d(g.C, g.L, 1, g.stride, bias=self.QUERY in biased))
        self.add_module(self.PROJECT, nn.Conv2d(g.L, g.K, 1, bias=self.PROJECT in biased))
        self.add_norms()

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
        dynamic: Tensor = self.project(self.mixed(phi, q).view_as(q_map))
        y: Tensor = self.static(x) * scale[:, :, None, None] + dynamic
        return y


class MobileNetDynamicConv(DynamicConv2d):
    """The 1×1 layer of MobileNetV2-DCD; checkpoints call its parts ``conv``, ``conv_q`` and ``conv_p``."""

    QUERY, PROJECT = "conv_q", "conv_p"


class ResNetDynamicConv(DynamicConv2d):
    """The 1×1 or 3×3 layer of ResNet-DCD; checkpoints call its parts ``conv``, ``q`` and ``p``."""


class DynamicLinear(DynamicLayer):
    """The dynamic classifier: the same equation on a vector, its bias inside λ."""

    def __init__(self, geometry: LayerGeometry, constants: Constants = PUBLISHED) -> None:
        super().__init__(geometry, constants)
        g, biased = geometry, set(geometry.biases)
        self.cls = nn.Linear(g.C, g.K)
        self.cls_q = nn.Linear(g.C, g.L, bias="cls_q" in biased)
        self.cls_p = nn.Linear(g.L, g.K, bias="cls_p" in biased)
        self.add_norms()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C) to (N, K)."""
        phi, scale = self.attention(x)
        q = self.bn1(self.cls_q(x))  # (N, L)
        mixed = self.plus_q(self.bn2(torch.bmm(phi, q[:, :, None]).squeeze(2)), q)
        logits: Tensor = self.cls(x) * scale + self.cls_p(mixed)
        return logits
