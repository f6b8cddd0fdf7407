"""Names for the tensors of a TFLite graph (``naming``).

litert-torch notes the modules in the names of tensors, several where operators were fused; the first says which layer
it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from dcd_deploy.artifacts import OUTPUT
from dcd_deploy.export.naming import Places, unique_names, with_neighbours
from dcd_deploy.lowering.places import ACTIVATION, Place, find_place


def name_tflite(
    graph: Any, operator_name: Callable[[Any], str], places: Places, fixed: Collection[bytes] = (OUTPUT.encode(),)
) -> None:
    """Name the tensors that the operators of ``graph`` (a ``SubGraphT``) compute, unless their names are ``fixed``."""
    operators, tensors = graph.operators, graph.tensors
    outputs = [tuple(map(int, operator.outputs)) for operator in operators]
    known = [_tensor_place(tensors[each[0]].name.decode(errors="replace"), places) for each in outputs]
    found = with_neighbours(known, [tuple(map(int, operator.inputs)) for operator in operators], outputs)
    names = unique_names(found, [operator_name(operator) for operator in operators])
    for name, each in zip(names, outputs, strict=True):
        if name and tensors[each[0]].name not in fixed:
            tensors[each[0]].name = name


def _tensor_place(name: str, places: Places) -> Place | None:
    """Return the place of the module, or of the weighted one of several, that a tensor of litert-torch is named after.

    Of fused operators the first path is that of the last operator; others may be those of constants that are shared
    with other layers.
    """
    found = [place for path in name.split(";;") if (place := find_place(_module_path(path), places))]
    own = [place for place in found if place.layer == found[0].layer and place.inside != ACTIVATION]
    return max(own or found[:1], key=lambda place: place.inside.count("."), default=None)


def _module_path(path: str) -> str:
    """Return net_x.attention of ``package.NamedNetwork/package.Branch_net_x/package.Attention_attention;1``."""
    classes = path.partition(";")[0].split("/")[1:]
    return ".".join(part.rpartition(".")[2].partition("_")[2] for part in classes)
