"""Which part of a module is W0, Q, P, Φ's and λ's Linear of a dynamic convolution by matrix decomposition.

Told by the sizes, static C → K, query C → L, project L → K, phi S → L², scale S → K; where these leave a choice, by the
names that people use; where those do too, by the proof.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.conv import _ConvNd

from dcd_deploy.dynamic.adapters.parts import dense_sizes, is_dense, kind
from dcd_deploy.dynamic.operator import OutsideError

NAMES = {
    "static": r"^(conv|cls|static|w0|weight|linear|head)\d*$",
    "query": r"(^|_)(q|query|down)$",
    "project": r"(^|_)(p|proj|project|up)$",
    "phi": r"phi",
    "scale": r"scale|lambda|lam$",
}
MOST_LAYERS = 9  # of a module that is looked at: the assignments of more are too many


@dataclass(frozen=True)
class Roles:
    """The names of the parts."""

    static: str
    query: str
    project: str
    phi: str
    scale: str

    @property
    def all(self) -> tuple[str, str, str, str, str]:
        """The names, in the order of the fields."""
        return self.static, self.query, self.project, self.phi, self.scale

    @property
    def well_named(self) -> int:
        """How many parts have a name that says what they are."""
        return sum(_called(name, role) for role, name in zip(NAMES, self.all, strict=True))

    @property
    def attention_apart(self) -> bool:
        """Whether the convolutions are the module's own children, and both heads in one child."""
        apart = ["." in name for name in self.all]
        return apart == [False] * 3 + [True] * 2 and self.phi.partition(".")[0] == self.scale.partition(".")[0]


def _called(name: str, role: str) -> bool:
    return bool(re.search(NAMES[role], name.rpartition(".")[2]))


def roles_of(children: Mapping[str, nn.Module]) -> list[Roles]:
    """Return the best assignments of roles to the children; none where their sizes fit none."""
    layers = {name: child for name, child in children.items() if isinstance(child, (nn.Linear, _ConvNd))}
    found = list(_fitting(layers)) if 5 <= len(layers) <= MOST_LAYERS else []
    best = max((roles.well_named for roles in found), default=0)
    return [roles for roles in found if roles.well_named == best]


def _fitting(layers: Mapping[str, nn.Module]) -> Iterator[Roles]:
    squeezed = [name for name, layer in layers.items() if is_dense(layer)]
    for phi, scale in itertools.permutations(squeezed, 2):
        (square, s), (K, also_s) = dense_sizes(layers[phi]), dense_sizes(layers[scale])
        L = math.isqrt(square)
        if square != L * L or s != also_s:
            continue
        for static, query, project in itertools.permutations([name for name in layers if name not in (phi, scale)], 3):
            C = dense_sizes(layers[static])[1]
            sizes = [dense_sizes(layers[name]) for name in (static, query, project)]
            if sizes == [(K, C), (L, C), (K, L)] and _one_kind(layers[static], layers[query], layers[project]):
                yield Roles(static, query, project, phi, scale)


def _one_kind(*layers: nn.Module) -> bool:
    return len({isinstance(layer, nn.Linear) for layer in layers}) == 1


def check_names(children: Mapping[str, nn.Module]) -> None:
    """Check that children without roles are not called as the parts of the published layer are.

    Raises:
        OutsideError: they are, so they are meant as such, but have other sizes or kinds.
    """
    named = {role: next((n for n in children if _called(n, role)), None) for role in NAMES}
    phi, scale, query, project = named["phi"], named["scale"], named["query"], named["project"]
    if phi is None or query is None or project is None:
        return
    for name in (phi, scale, query, project):
        if name is not None and not isinstance(children[name], (nn.Linear, _ConvNd)):
            raise OutsideError(f"{name} is {kind(children[name])}, and not one Linear layer or convolution")
    outputs = dense_sizes(children[phi])[0]
    if scale is None:
        raise OutsideError("it has parts for Φ, but none for λ")
    raise OutsideError(
        f"the sizes of its parts do not fit: {phi} makes {outputs} values, {query} {dense_sizes(children[query])[0]} "
        f"channels, and {project} takes {dense_sizes(children[project])[1]}"
    )
