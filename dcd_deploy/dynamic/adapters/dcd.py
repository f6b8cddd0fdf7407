"""Dynamic convolution by matrix decomposition (arXiv 2103.08756), as published and as people have it.

    y = λ ⊙ (W0 * x + b0) + P (bn2(Φ q) + q) + b       q = bn1(Q x)       λ = gate(fc_scale a)       Φ = fc_phi a

    bn1 goes into Q; s2 of bn2 into the rows of Φ's head; "+ q" is the identity in its bias; a mask on Φ into both.

Left to the proof, as the parts do not tell it: the gates, "+ q", where a norm stands, the size of the pooling where the
module holds none, whether the attention looks at the input or at a second operand.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from dcd_deploy.dynamic.adapters.dcd_roles import Roles, roles_of
from dcd_deploy.dynamic.adapters.parts import (
    activation_of,
    children_of,
    conv_geometry,
    dense,
    dense_sizes,
    is_norm,
    norm_affine,
    tensor_of,
    tensors_of,
    weight_of,
)
from dcd_deploy.dynamic.adapters.trunk import GATES, Trunk, read_trunk
from dcd_deploy.dynamic.attention import IDENTITY, Activation, Attention, Dense, Gated
from dcd_deploy.dynamic.folds import scaled, with_norm
from dcd_deploy.dynamic.operator import PHI, SCALE, ConvGeometry, DynamicOperator, LowRank, Pair, RowScaled
from dcd_deploy.dynamic.refusal import OutsideError, Refusal

FAMILY = "dcd"
MOST = 512  # candidates
RELU = Activation("relu")

Norm = tuple[Tensor, Tensor]
Places = dict[str, Norm]  # "query" behind Q, "mixed" behind Φ, "static" behind W0, "out" behind the sum
Mask = tuple[Tensor, Tensor]  # of Φ: its values times the first, plus the second; both (L, L)


@dataclass(frozen=True)
class Choice:
    """What the parts leave open."""

    places: Places
    mask: Mask | None
    plus_query: bool
    gate: Activation


def candidates(module: nn.Module) -> tuple[DynamicOperator, ...] | Refusal | None:
    """Return the operators that the module may be, most likely first; None where it is of another kind."""
    children = children_of(module)
    try:
        every = [_of_roles(module, children, roles) for roles in roles_of(children)]
    except OutsideError as outside:
        return Refusal(FAMILY, str(outside))
    return tuple(itertools.islice(itertools.chain(*every), MOST)) or None


def _of_roles(module: nn.Module, children: dict[str, nn.Module], roles: Roles) -> Iterator[DynamicOperator]:
    """Return the candidates for one assignment of roles; its parts are read before the first is asked for."""
    geometry = _geometry(children, roles)
    rest = {name: child for name, child in children.items() if name not in roles.all}
    norms = _placed_norms(rest, dense_sizes(children[roles.query])[0], geometry.K)
    said = [one for child in rest.values() if (one := activation_of(child)) is not None and one != IDENTITY]
    weighing = {name: c for name, c in rest.items() if not is_norm(c) and activation_of(c) is None}
    trunk = read_trunk(weighing.items())
    if not any(isinstance(stage, Gated) for stage in trunk.stages):
        trunk.leave_open(IDENTITY, RELU)
    attentions = list(_attentions(module, trunk, geometry, children[roles.phi]))
    choices = [
        Choice(places, mask, plus_query, gate)
        for places in norms
        for mask in _masks(module, dense_sizes(children[roles.query])[0])
        for plus_query in (True, False)
        for gate in dict.fromkeys(said or [*GATES, IDENTITY])
    ]
    terms = _Terms(children, roles, geometry, tensor_of(module, "bias"))
    return (terms.operator(attention, choice) for attention in attentions for choice in choices)


def _geometry(children: dict[str, nn.Module], roles: Roles) -> ConvGeometry:
    """Return the geometry of W0.

    Raises:
        OutsideError: W0, Q and P are not of one kind of sum: Q or P is no 1×1 convolution, or Q reads other pixels.
    """
    static, query, project = (children[name] for name in (roles.static, roles.query, roles.project))
    if isinstance(static, nn.Linear):
        return ConvGeometry(C=static.in_features, K=static.out_features, vector=True)
    g = conv_geometry(roles.static, static)
    for name, layer, stride in ((roles.query, query, g.stride), (roles.project, project, (1, 1))):
        one = conv_geometry(name, layer)
        if one.kernel != (1, 1):
            raise OutsideError(f"{name} is {one.kernel[0]}×{one.kernel[1]}: only a 1×1 convolution is a matrix")
        if one.padding != (0, 0) or one.groups != 1:
            raise OutsideError(f"{name} has padding {one.padding} and {one.groups} groups: expected none, and one")
        if one.stride != stride:
            raise OutsideError(f"{name} has stride {one.stride}, where {stride} is expected")
    if g.groups != 1:
        raise OutsideError(f"{roles.static} has {g.groups} groups, but P Φ Q reads all channels")
    if any(2 * p != d * (k - 1) or k % 2 == 0 for p, d, k in zip(g.padding, g.dilation, g.kernel, strict=True)):
        raise OutsideError(
            f"{roles.static} has kernel {g.kernel}, padding {g.padding} and dilation {g.dilation}: "
            f"{roles.query} reads the centre tap only where the padding keeps the size of the map"
        )
    return g


def _placed_norms(rest: dict[str, nn.Module], L: int, K: int) -> list[Places]:
    """Return the ways to place the norms, those first that the names and the order suggest."""
    norms = {name: norm_affine(name, child) for name, child in rest.items() if is_norm(child)}
    ways = []
    for places in itertools.permutations(("query", "mixed", "out", "static"), len(norms)):
        sizes = [L if place in ("query", "mixed") else K for place in places]
        if all(len(scale) == size for (scale, _), size in zip(norms.values(), sizes, strict=True)):
            ways.append(dict(zip(places, norms, strict=True)))
    if not ways:
        sizes_found = ", ".join(f"{name} {len(scale)}" for name, (scale, _) in norms.items())
        raise OutsideError(f"its norms have other sizes than Q x ({L}) and the output ({K}): {sizes_found}")
    numbered = [way for way in ways if way.get("query", "1").endswith("1") and way.get("mixed", "2").endswith("2")]
    ways = [way for way in numbered if set(way) == {"query", "mixed"}] or [*numbered, *ways]
    return [{place: norms[name] for place, name in way.items()} for way in ways]


def _attentions(module: nn.Module, trunk: Trunk, g: ConvGeometry, phi: nn.Module) -> Iterator[Attention]:
    """Yield the attentions, without heads, over what they may look at.

    Raises:
        OutsideError: the squeeze's sizes fit nothing.
    """
    if trunk.outputs != dense_sizes(phi)[1]:
        raise OutsideError(f"its squeeze gives {trunk.outputs} values, but Φ is made of {dense_sizes(phi)[1]}")
    held = [one for _, one in _pools(module)] or ([trunk.pool] if trunk.pool else [])
    sources: list[tuple[Pair | None, bool]] = []
    if g.vector:
        sources += [(None, True)] if trunk.inputs == g.C else []
    elif trunk.inputs % g.C == 0:
        sources += [(size, True) for size in _pool_sizes(trunk.inputs // g.C, held)]
    if takes_operand(module):
        sources += [(size, False) for size in dict.fromkeys([*held, (1, 1), (2, 2), None])]
    if not sources:
        raise OutsideError(f"its squeeze takes {trunk.inputs} values, which is no multiple of {g.C} channels")
    return (Attention(pool, stages, {}, own) for pool, own in sources for stages in trunk.alternatives())


def _pools(module: nn.Module) -> Iterator[tuple[str, Pair]]:
    for name, child in module.named_modules():
        if isinstance(child, nn.AdaptiveAvgPool2d):
            size = child.output_size
            rows, columns = size if isinstance(size, tuple) else (size, size)
            if rows is not None and columns is not None:
                yield name, (rows, columns)


def _pool_sizes(values: int, held: Iterable[Pair]) -> list[Pair]:
    """Return the rows and columns that make so many values of a channel: those of a pooling that is held, a square."""
    side = math.isqrt(values)
    sizes = [*held, (side, side)]
    return list(dict.fromkeys(size for size in sizes if size[0] * size[1] == values))


def takes_operand(module: nn.Module) -> bool:
    """Whether the module's forward takes two tensors."""
    try:
        inspect.signature(module.forward).bind(None, None)
    except (TypeError, ValueError):
        return False
    return True


def _masks(module: nn.Module, L: int) -> list[Mask | None]:
    """Return the maskings of Φ by tensors of its size: none; m; Φ m + c (1 − m)."""
    square = [
        tensor for tensor in tensors_of(module).values() if tensor.shape[-2:] == (L, L) and tensor.numel() == L * L
    ]
    square = [tensor.view(L, L) for tensor in square]
    ways: list[Mask | None] = [(m, c * (1 - m)) for m, c in itertools.permutations(square, 2)]
    ways += [(m, torch.zeros_like(m)) for m in square]
    ways += [(torch.ones_like(c), c) for c in square]
    return [*sorted(ways, key=_unlike_a_mask), None]


def _unlike_a_mask(way: Mask | None) -> bool:
    assert way is not None
    return not bool(((way[0] == 0) | (way[0] == 1)).all())


class _Terms:
    """The weights of the parts, and the operator that a choice makes of them."""

    def __init__(
        self, children: dict[str, nn.Module], roles: Roles, geometry: ConvGeometry, bias: Tensor | None
    ) -> None:
        self.geometry = geometry
        self.static = RowScaled(
            weight_of(children[roles.static]).view(geometry.K, geometry.C, *geometry.kernel),
            tensor_of(children[roles.static], "bias"),
        )
        self.query, self.project = dense(children[roles.query]), dense(children[roles.project])
        self.phi, self.scale = dense(children[roles.phi]), dense(children[roles.scale])
        shared = None if bias is None or bias.numel() != geometry.K else bias.flatten()
        self.bias = shared if self.project.bias is None else self.project.bias + (0 if shared is None else shared)

    def operator(self, attention: Attention, choice: Choice) -> DynamicOperator:
        """Return the operator of one choice."""
        heads = {PHI: self._phi(choice), SCALE: replace(self.scale, activation=choice.gate)}
        terms = (self._static(choice), self._low_rank(choice))
        whole = DynamicOperator(FAMILY, self.geometry, replace(attention, heads=heads), terms, self.bias)
        return with_norm(whole, *choice.places["out"]) if "out" in choice.places else whole

    def _static(self, choice: Choice) -> RowScaled:
        if (norm := choice.places.get("static")) is None:
            return self.static
        scale, shift = norm
        term = scaled(self.static, scale)
        assert isinstance(term, RowScaled)
        return replace(term, bias=shift if term.bias is None else term.bias + shift)

    def _low_rank(self, choice: Choice) -> LowRank:
        weight, shift = self.query.weight, self.query.bias
        if (norm := choice.places.get("query")) is not None:
            weight = norm[0][:, None] * weight
            shift = norm[1] if shift is None else norm[0] * shift + norm[1]
        mixed = choice.places.get("mixed")
        return LowRank(self.project.weight, weight, shift, None if mixed is None else mixed[1])

    def _phi(self, choice: Choice) -> Dense:
        """Return the head of Φ' = diag(s2) (Φ ⊙ m + c) + I."""
        L = len(self.query.weight)
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
