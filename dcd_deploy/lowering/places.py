"""Where a part of the deploy graph comes from: a layer of the trained network, and what within it.

    features.2.conv.0   attention.squeeze   a part of a dynamic layer's lowering
    features.2.conv.0   dynamic             what a lowering does itself
    features.2.conv.0   activation          what follows a layer, value by value
    features.0.0        static              a layer that the static twin has too
    features.3.conv.6   residual            a sum behind a layer
    features            static.flatten      any other function, behind the layer that made its operand

The names of nodes in exported files are made of it, and a profile is read by it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

STATIC, DYNAMIC, RESIDUAL, ACTIVATION = "static", "dynamic", "residual", "activation"
PLAIN = "plain"  # the module of a lowering that computes in another's place; its parts are the layer's
ATTENTION = "attention"  # what the parts of a layer's attention begin with
INPUT = "input"  # what the deploy graph does before the first layer


@dataclass(frozen=True)
class Place:
    """A layer by its path in the trained network, and what within it: a part of its lowering, or one of the words."""

    layer: str
    inside: str


def is_within(layer: str, names: Collection[str]) -> bool:
    """Whether a layer is one of these, or in one of them: "features.2.conv.0" is in "features.2"."""
    return any(layer == name or layer.startswith(f"{name}.") for name in names)


def find_place(path: str, places: Mapping[str, Place]) -> Place | None:
    """Return the place of the module at ``path``, from those of the modules around it."""
    around = path
    while around not in places:
        if not around:
            return None
        around = around.rpartition(".")[0]
    place = places[around]
    rest = path[len(around) :].removeprefix(".").removeprefix(PLAIN).removeprefix(".")
    return Place(place.layer, rest) if rest and place.inside == DYNAMIC else place
