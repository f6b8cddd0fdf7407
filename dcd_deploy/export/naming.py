"""Names for the nodes of exported files: after the layer of the trained network that each comes from.

A node whose layer a tool did not note gets the place of the nodes that read its output, or else of those that it reads.
``naming_onnx`` and ``naming_tflite`` say what is noted; ``dcd_deploy.runtimes.nodes`` reads the names. Nothing but
names changes: not what a graph computes, nor its order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from dcd_deploy.lowering.places import Place

Places = Mapping[str, Place]


def with_neighbours(
    known: Sequence[Place | None], inputs: Sequence[Sequence[Any]], outputs: Sequence[Sequence[Any]]
) -> list[Place | None]:
    """Fill in the places that are not known: those of the first readers, else of the nodes that are read."""
    found = list(known)
    readers = {name: i for i in reversed(range(len(inputs))) for name in inputs[i]}
    makers = {name: i for i, names in enumerate(outputs) for name in names}
    for i in reversed(range(len(found))):  # readers stand behind
        found[i] = found[i] or next((found[readers[name]] for name in outputs[i] if name in readers), None)
    for i in range(len(found)):
        found[i] = found[i] or next((found[makers[name]] for name in inputs[i] if name in makers), None)
    return found


def unique_names(places: Sequence[Place | None], operators: Sequence[str]) -> list[str]:
    """Return layer/inside/operator for each node, numbered from the second of its kind; empty without a place."""
    seen: Counter[str] = Counter()
    names = []
    for place, operator in zip(places, operators, strict=True):
        name = f"{place.layer}/{place.inside}/{operator.lower().replace('_', '')}" if place else ""
        seen[name] += 1
        names.append(f"{name}_{seen[name]}" if name and seen[name] > 1 else name)
    return names


def free_name(name: str, taken: set[str]) -> str:
    """Return a name for one more node, numbered from the second of its kind, and add it to those ``taken``."""
    numbered = (name if i == 1 else f"{name}_{i}" for i in count(1))
    free = next(one for one in numbered if one not in taken)
    taken.add(free)
    return free
