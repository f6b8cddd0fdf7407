"""The terms and heads of a dynamic convolution by matrix decomposition: its parts, and a choice of what they mean.

bn1 behind Q        s1 ⊙ Q, t1
bn2 behind Φ        s2 into the rows of Φ's head, t2 between Φ and P
"+ q"               the identity in the bias of Φ's head
a mask on Φ         into the weights and the bias of Φ's head
a norm behind W0    into W0 and its bias, inside λ
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from dcd_deploy.dynamic.adapters.dcd_roles import Roles
from dcd_deploy.dynamic.adapters.parts import (
    activation_of,
    dense,
    followed_by_norm,
    is_norm,
    norm_affine,
    tensor_of,
    weight_of,
)
from dcd_deploy.dynamic.attention import IDENTITY, Activation, Attention, Dense
from dcd_deploy.dynamic.folds import scaled, with_norm
from dcd_deploy.dynamic.operator import PHI, SCALE, ConvGeometry, DynamicOperator, LowRank, RowScaled

Norm = tuple[Tensor, Tensor]  # scale and shift
Places = Mapping[str, Norm]  # "query" behind Q, "mixed" behind Φ, "static" behind W0, "out" behind the sum
Mask = tuple[Tensor, Tensor]  # of Φ: its values times the first, plus the second; both (L, L)


@dataclass(frozen=True)
class TermChoice:
    """What the parts leave open of the terms; the gate is open too."""

    places: Places
    mask: Mask | None
    plus_query: bool


@dataclass(frozen=True)
class Reading:
    """The terms and heads of one choice, from which the operators of all gates and attentions are made."""

    geometry: ConvGeometry
    static: RowScaled
    low_rank: LowRank
    phi: Dense
    scale: Dense
    bias: Tensor | None
    norm: Norm | None  # behind the sum

    def operator(self, family: str, attention: Attention, gate: Activation) -> DynamicOperator:
        """Return the operator of one gate, with the stages and the source of ``attention``."""
        heads = {PHI: self.phi, SCALE: replace(self.scale, activation=gate)}
        terms = (self.static, self.low_rank)
        whole = DynamicOperator(family, self.geometry, replace(attention, heads=heads), terms, self.bias)
        return whole if self.norm is None else with_norm(whole, *self.norm)


@dataclass(frozen=True)
class Parts:
    """The children of a module; ``layers`` are the same with convolutions in place of a convolution and its norms."""

    children: Mapping[str, nn.Module]
    layers: Mapping[str, nn.Module]

    @classmethod
    def of(cls, children: Mapping[str, nn.Module]) -> Parts:
        """Return the parts that the children are."""
        return cls(children, {name: _convolution(child) or child for name, child in children.items()})

    def norms(self, name: str) -> list[Norm]:
        """Return the norms that are in one child with its convolution."""
        child = self.children[name]
        if self.layers[name] is child:
            return []
        return [norm_affine(f"{name}.{key}", part) for key, part in child.named_children() if is_norm(part)]


def _convolution(child: nn.Module) -> nn.Module | None:
    """Return the convolution of a Sequential that holds nothing else but norms."""
    first, *others = child.children() if isinstance(child, nn.Sequential) and len(child) > 1 else [child]
    plain = all(is_norm(part) or activation_of(part) == IDENTITY for part in others)
    return first if isinstance(first, nn.Conv2d) and others and plain else None


@dataclass(frozen=True)
class Terms:
    """W0 with its bias, and the weights of Q, P and the two heads; ``bias`` (K) is outside all heads."""

    geometry: ConvGeometry
    static: RowScaled
    query: Dense
    project: Dense
    phi: Dense
    scale: Dense
    bias: Tensor | None

    @classmethod
    def of(cls, parts: Parts, roles: Roles, geometry: ConvGeometry, bias: Tensor | None) -> Terms:
        """Read the parts; ``bias`` is the module's own."""
        layers, g = parts.layers, geometry
        static = RowScaled(
            weight_of(layers[roles.static]).view(g.K, g.C // g.groups, *g.kernel),
            tensor_of(layers[roles.static], "bias"),
        )
        for norm in parts.norms(roles.static):
            static = _normed(static, norm)
        query, project = (_dense(parts, name) for name in (roles.query, roles.project))
        outside = project.bias
        if bias is not None and bias.numel() == g.K:
            outside = bias.flatten() if outside is None else outside + bias.flatten()
        return cls(g, static, query, project, _dense(parts, roles.phi), _dense(parts, roles.scale), outside)

    @property
    def latent(self) -> int:
        """L."""
        return len(self.query.weight)

    def reading(self, choice: TermChoice) -> Reading:
        """Return what one choice makes of them."""
        places = choice.places
        static = _normed(self.static, places["static"]) if "static" in places else self.static
        terms = (static, self._low_rank(choice), self._phi(choice))
        return Reading(self.geometry, *terms, self.scale, self.bias, places.get("out"))

    def _low_rank(self, choice: TermChoice) -> LowRank:
        norm, mixed = choice.places.get("query"), choice.places.get("mixed")
        query = self.query if norm is None else followed_by_norm(self.query, *norm)
        return LowRank(self.project.weight, query.weight, query.bias, None if mixed is None else mixed[1])

    def _phi(self, choice: TermChoice) -> Dense:
        """Return the head of Φ' = diag(s2) (Φ ⊙ m + c) + I."""
        L = self.latent
        weight = self.phi.weight.view(L, L, -1)
        bias = torch.zeros(L, L, dtype=weight.dtype) if self.phi.bias is None else self.phi.bias.view(L, L)
        if choice.mask is not None:
            weight, bias = choice.mask[0][:, :, None] * weight, choice.mask[0] * bias + choice.mask[1]
        if (norm := choice.places.get("mixed")) is not None:
            weight, bias = norm[0][:, None, None] * weight, norm[0][:, None] * bias
        if choice.plus_query:
            bias = bias + torch.eye(L, dtype=bias.dtype)
        plain = self.phi.bias is None and choice.mask is None and not choice.plus_query
        return Dense(weight.reshape(L * L, -1), None if plain else bias.flatten())


def _normed(static: RowScaled, norm: Norm) -> RowScaled:
    scale, shift = norm
    term = scaled(static, scale)
    assert isinstance(term, RowScaled)
    return replace(term, bias=shift if term.bias is None else term.bias + shift)


def _dense(parts: Parts, name: str) -> Dense:
    layer = dense(parts.layers[name])
    for norm in parts.norms(name):
        layer = followed_by_norm(layer, *norm)
    return layer
