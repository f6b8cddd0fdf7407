"""Dynamic convolution by matrix decomposition (arXiv 2103.08756), as published and as people have it.

    y = λ ⊙ (W0 * x + b0) + P (bn2(Φ q) + q) + b       q = bn1(Q x)       λ = gate(fc_scale a)       Φ = fc_phi a

    bn1 goes into Q; s2 of bn2 into the rows of Φ's head; "+ q" is the identity in its bias; a mask on Φ into both.

Left to the proof, as the parts do not tell it: the gates, "+ q", where a norm stands, the size of the pooling where the
module holds none, whether the attention looks at the input or at a second operand.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping

import torch
from torch import nn

from dcd_deploy.dynamic.adapters.dcd_branches import taken_apart
from dcd_deploy.dynamic.adapters.dcd_roles import Roles, check_names, roles_of
from dcd_deploy.dynamic.adapters.dcd_terms import Mask, Parts, Places, TermChoice, Terms
from dcd_deploy.dynamic.adapters.parts import (
    activation_of,
    children_of,
    conv_geometry,
    dense_sizes,
    is_norm,
    norm_affine,
    tensor_of,
    tensors_of,
)
from dcd_deploy.dynamic.adapters.trunk import GATES, HIDDEN, Trunk, pool_sizes, pools_of, read_trunk, takes_operand
from dcd_deploy.dynamic.attention import IDENTITY, Attention, Gated
from dcd_deploy.dynamic.operator import ConvGeometry, DynamicOperator, OutsideError, Pair, Refusal

FAMILY = "dcd"
MOST = 512  # candidates


def candidates(module: nn.Module) -> tuple[DynamicOperator, ...] | Refusal | None:
    """Return the operators that the module may be, most likely first; None where it is of another kind."""
    try:
        readings = list(_readings(module, Parts.of(children_of(module))))
    except OutsideError as outside:
        return Refusal(FAMILY, str(outside))
    return tuple(itertools.islice(itertools.chain(*readings), MOST)) or None


def _readings(module: nn.Module, parts: Parts) -> Iterator[Iterator[DynamicOperator]]:
    """Yield the candidates for each assignment of roles.

    Raises:
        OutsideError: every assignment has a part outside the operator; the first of them says which.
    """
    assignments = [(parts, roles) for roles in roles_of(parts.layers)]
    if not assignments:
        assignments = taken_apart(parts.children)
    if not assignments:
        check_names(parts.layers)
        assignments = [(opened, roles) for opened in _opened(parts) for roles in roles_of(opened.layers)]
        assignments = [(opened, roles) for opened, roles in assignments if roles.attention_apart]
    reasons = []
    for held, roles in assignments:
        try:
            yield _of_roles(module, held, roles)
        except OutsideError as outside:
            reasons.append(outside)
    if reasons and len(reasons) == len(assignments):
        raise reasons[0]


def _opened(parts: Parts) -> Iterator[Parts]:
    """Yield the parts with one child, which may be the attention, replaced by what it holds."""
    for name, child in parts.children.items():
        inner = {f"{name}.{key}": part for key, part in children_of(child).items()}
        if len(inner) > 1 and not isinstance(child, nn.Sequential):
            yield Parts.of({key: part for key, part in parts.children.items() if key != name} | inner)


def _of_roles(module: nn.Module, parts: Parts, roles: Roles) -> Iterator[DynamicOperator]:
    """Return the candidates for one assignment of roles; its parts are read before the first is asked for."""
    geometry = _geometry(parts.layers, roles)
    terms = Terms.of(parts, roles, geometry, tensor_of(module, "bias"))
    rest = {name: child for name, child in parts.children.items() if name not in roles.all}
    norms = _placed_norms(rest, terms.latent, geometry.K)
    said = [one for child in rest.values() if (one := activation_of(child)) is not None and one != IDENTITY]
    weighing = {name: c for name, c in rest.items() if not is_norm(c) and activation_of(c) is None}
    trunk = read_trunk(weighing.items())
    if not any(isinstance(stage, Gated) for stage in trunk.stages):
        trunk.leave_open(*dict.fromkeys((IDENTITY, *HIDDEN)))
    attentions = list(_attentions(module, trunk, geometry, parts.layers[roles.phi]))
    gates = dict.fromkeys(said or [*GATES, IDENTITY])
    choices = [
        TermChoice(places, mask, plus_query)
        for places in norms
        for mask in _masks(module, terms.latent)
        for plus_query in (True, False)
    ]
    reading = functools.cache(lambda number: terms.reading(choices[number]))  # of all attentions and gates
    return (
        reading(number).operator(FAMILY, attention, gate)
        for attention in attentions
        for number in range(len(choices))
        for gate in gates
    )


def _geometry(children: Mapping[str, nn.Module], roles: Roles) -> ConvGeometry:
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
    ways.sort(key=lambda way: way.get("query", "1")[-1] != "1" or way.get("mixed", "2")[-1] != "2")
    return [{place: norms[name] for place, name in way.items()} for way in ways]


def _attentions(module: nn.Module, trunk: Trunk, g: ConvGeometry, phi: nn.Module) -> Iterator[Attention]:
    """Yield the attentions, without heads, over what they may look at.

    Raises:
        OutsideError: the squeeze's sizes fit nothing.
    """
    if not trunk.stages:
        raise OutsideError("its attention holds no Linear layer")
    if trunk.outputs != dense_sizes(phi)[1]:
        raise OutsideError(f"its squeeze gives {trunk.outputs} values, but Φ is made of {dense_sizes(phi)[1]}")
    held = list(pools_of(module))
    sources: list[tuple[Pair | None, bool]] = []
    if g.vector:
        sources += [(None, True)] if trunk.inputs == g.C else []
    elif trunk.inputs % g.C == 0:
        sources += [(size, True) for size in pool_sizes(trunk.inputs // g.C, held)]
    if takes_operand(module):
        sources += [(size, False) for size in dict.fromkeys([*held, (1, 1), (2, 2), None])]
    if not sources:
        raise OutsideError(f"its squeeze takes {trunk.inputs} values, which is no multiple of {g.C} channels")
    return (Attention(pool, stages, {}, own) for pool, own in sources for stages in trunk.alternatives())


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
