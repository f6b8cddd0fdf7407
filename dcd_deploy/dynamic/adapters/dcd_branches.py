"""The heads of a decomposition that stand in modules of their own, taken apart into the parts that are looked for.

    a Linear layer with its gate in one module      the layer, and the gate beside it
    two branches from the pooled map, Φ's and λ's   one squeeze of both, side by side, and a head on each half

The squeeze of two branches has their hidden layers behind one another; in front of each head are zeros for the other's.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from dcd_deploy.dynamic.adapters.dcd_roles import Roles, roles_of
from dcd_deploy.dynamic.adapters.dcd_terms import Parts
from dcd_deploy.dynamic.adapters.parts import activation_of, inside, is_dense
from dcd_deploy.dynamic.adapters.trunk import Trunk, read_trunk
from dcd_deploy.dynamic.attention import IDENTITY, Activation, Dense
from dcd_deploy.dynamic.operator import OutsideError

MOST, MOST_WITHIN = 4, 16  # modules that may be heads, and what one holds; more of them are a network, and no layer
CONVOLUTIONS = ("static", "query", "project")  # that are layers by themselves

Children = Mapping[str, nn.Module]


def taken_apart(children: Children) -> list[tuple[Parts, Roles]]:
    """Return the parts and their roles where heads stand in modules of their own; none where they do not.

    Raises:
        OutsideError: its heads are two branches of different layers.
    """
    others = [layer for layer in Parts.of(children).layers.values() if isinstance(layer, (nn.Linear, _ConvNd))]
    if len(others) < len(CONVOLUTIONS):
        return []
    small = [name for name, child in children.items() if sum(1 for _ in child.modules()) <= MOST_WITHIN]
    return _of_heads(children, small) or _of_branches(children, small)


def _of_heads(children: Children, small: Collection[str]) -> list[tuple[Parts, Roles]]:
    found = {name: layers for name in small if (layers := _layer_and_gate(name, children[name]))}
    if len(found) > MOST:
        return []
    assignments: list[tuple[Parts, Roles]] = []
    for names in (*itertools.combinations(found, 1), *itertools.combinations(found, 2)):
        opened: dict[str, nn.Module] = {}
        for name, child in children.items():
            opened |= found[name] if name in names else {name: child}
        parts = Parts.of(opened)
        assignments += [(parts, one) for one in roles_of(parts.layers) if set(names) <= {one.phi, one.scale}]
    return sorted(assignments, key=lambda one: -one[1].well_named)  # the squeeze may have a head's sizes too


def _layer_and_gate(name: str, child: nn.Module) -> dict[str, nn.Module]:
    """Return the only layer of a Sequential, under its name, and the functions beside it."""
    parts = dict(inside(child, name)) if isinstance(child, nn.Sequential) and activation_of(child) is None else {}
    layers = [part for part in parts.values() if is_dense(part)]
    others = {path: part for path, part in parts.items() if not is_dense(part)}
    if len(layers) != 1 or any(activation_of(part) is None for part in others.values()):
        return {}
    return {name: layers[0], **others}


def _of_branches(children: Children, small: Collection[str]) -> list[tuple[Parts, Roles]]:
    branches = {name: trunk for name in small if (trunk := _branch(name, children[name])) is not None}
    if len(branches) > MOST:
        return []
    for phi, scale in itertools.permutations(branches, 2):
        first, second = branches[phi], branches[scale]
        rest = {name: child for name, child in children.items() if name not in (phi, scale)}
        parts = Parts.of(rest | _side_by_side(phi, scale, first, second))
        roles = [one for one in roles_of(parts.layers) if (one.phi, one.scale) == (phi, scale)]
        if not roles:
            continue
        if first.inputs != second.inputs or first.activations[:-1] != second.activations[:-1]:
            raise OutsideError(f"{phi} and {scale} are branches of different inputs, layers or functions")
        return [(parts, one) for one in roles]
    return []


def _branch(name: str, child: nn.Module) -> Trunk | None:
    """Return the layers of a module that is two or more Linear layers one behind the other."""
    parts = list(inside(child, name))
    if sum(is_dense(part) for _, part in parts) < 2:
        return None
    try:
        trunk = read_trunk(parts)
    except OutsideError:
        return None
    return trunk if all(isinstance(stage, Dense) for stage in trunk.stages) else None


def _side_by_side(phi: str, scale: str, first: Trunk, second: Trunk) -> dict[str, nn.Module]:
    """Return one squeeze of two branches, a head for each, and the gate; it stands for them where they are alike."""
    a, b = ([one for one in trunk.stages if isinstance(one, Dense)] for trunk in (first, second))
    S, T = a[-1].weight.shape[1], b[-1].weight.shape[1]
    squeeze = nn.Sequential()
    for place, (one, other) in enumerate(zip(a[:-1], b[:-1], strict=False)):
        first_of_all = place == 0 and one.weight.shape[1] == other.weight.shape[1]
        weight = torch.cat([one.weight, other.weight]) if first_of_all else _apart(one.weight, other.weight)
        squeeze.append(_linear(weight, torch.cat([_bias(one), _bias(other)])))
        squeeze.append(_Function(first.activations[place][0]))
    heads: dict[str, nn.Module] = {
        f"{phi} and {scale}": squeeze,
        phi: _linear(F.pad(a[-1].weight, (0, T)), a[-1].bias),
        scale: _linear(F.pad(b[-1].weight, (S, 0)), b[-1].bias),
    }
    functions = [_Function(trunk.activations[-1][0]) for trunk in (first, second)]
    gates = {f"{name} {place}": one for place, (name, one) in enumerate(zip((phi, scale), functions, strict=True))}
    return heads | {name: one for name, one in gates.items() if one.function != IDENTITY}


def _apart(one: Tensor, other: Tensor) -> Tensor:
    """Return both as the blocks of a diagonal."""
    return torch.cat([F.pad(one, (0, other.shape[1])), F.pad(other, (one.shape[1], 0))])


def _bias(stage: Dense) -> Tensor:
    return stage.weight.new_zeros(len(stage.weight)) if stage.bias is None else stage.bias


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    outputs, inputs = weight.shape
    layer = nn.Linear(inputs, outputs, bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight)
    if bias is not None:
        layer.bias = nn.Parameter(bias)
    return layer


class _Function(nn.Module):
    """A function of a branch, as a part."""

    def __init__(self, function: Activation) -> None:
        super().__init__()
        self.function = function

    def forward(self, v: Tensor) -> Tensor:
        return self.function(v)
