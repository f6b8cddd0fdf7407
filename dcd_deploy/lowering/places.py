"""Where a module of the deploy form comes from: a layer of the train form, and what within it.

    path in the deploy form                  layer of the train form     inside
    features.3.0.conv.attention.squeeze      features.2.conv.0           attention.squeeze
    features.3.0.conv                        features.2.conv.0           dynamic       what a form does itself
    features.3.0.activation                  features.2.conv.0           activation
    features.1.conv                          features.0.0                static        a layer that the twin has too
    features.2                               features.1.conv.3           residual      a block adds to its last layer

The names of nodes in exported files are made of it, and a profile is read by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

STATIC, DYNAMIC, RESIDUAL, ACTIVATION = "static", "dynamic", "residual", "activation"
INPUT, POOL = "input", "pool"  # what the deploy form does before the first layer and before the classifier


@dataclass(frozen=True)
class Place:
    """A layer by its name in the train form, and what within it: a submodule of its form, or one of the words above."""

    layer: str
    inside: str


def find_place(path: str, places: Mapping[str, Place]) -> Place | None:
    """Return the place of the module at ``path``, from those of the units, blocks and layers around it."""
    around = path
    while around not in places:
        if not around:
            return None
        around = around.rpartition(".")[0]
    place, rest = places[around], path[len(around) :].removeprefix(".")
    if rest == ACTIVATION:
        return Place(place.layer, ACTIVATION)
    form = rest.removeprefix("conv").removeprefix(".")
    return Place(place.layer, form) if form and place.inside == DYNAMIC else place
