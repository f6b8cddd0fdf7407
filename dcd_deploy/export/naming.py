"""Names for the nodes of exported files: after the layer of the trained network that each comes from.

A node whose layer a tool did not note gets the place of the nodes that read its output, or else of those that it reads.
``naming_onnx`` and ``naming_tflite`` say what is noted; ``dcd_deploy.runtimes.nodes`` reads the names. Nothing but
names changes: not what a graph computes, nor its order.

Names for the nodes of an ONNX graph (``naming``).

torch's exporter notes for each node in which module it arose; simplification drops the notes but keeps the names of
outputs, by which they are found again.

Names for the tensors of a TFLite graph (``naming``).

litert-torch notes the modules in the names of tensors, several where operators were fused; the first says which layer
it is.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import count
from typing import Any

import onnx
import onnx_ir as ir

from dcd_deploy.artifacts import OUTPUT
from dcd_deploy.lowering.graph import ACTIVATION, Place, find_place

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


SCOPES = "pkg.torch.onnx.name_scopes"
CALL = re.compile(r"@\d+$")  # of a module that is called more than once


def onnx_scopes(model: onnx.ModelProto) -> dict[str, str]:
    """Return the path of the module in which each value of the exporter's graph arose, where that is noted."""
    scopes: dict[str, str] = {}
    for node in ir.from_proto(model).graph:
        if noted := node.metadata_props.get(SCOPES):
            *path, _ = ast.literal_eval(noted)
            module = CALL.sub("", path[-1]) if path else ""
            scopes |= {value.name: module for value in node.outputs if value.name}
    return scopes


def name_onnx(model: onnx.ModelProto, scopes: Mapping[str, str], places: Places) -> onnx.ModelProto:
    """Return a copy of ``model`` with its nodes and their outputs named; the graph's outputs keep their names."""
    named = ir.from_proto(model)
    nodes = list(named.graph)
    noted = [scopes.get(node.outputs[0].name or "") for node in nodes]
    known = [None if scope is None else find_place(scope, places) for scope in noted]
    found = with_neighbours(known, [n.inputs for n in nodes], [n.outputs for n in nodes])
    for node, name in zip(nodes, unique_names(found, [node.op_type for node in nodes]), strict=True):
        node.name = name or node.name
        for i, value in enumerate(node.outputs):
            if name and value.name and not value.is_graph_output():
                value.name = f"{name}.{i}" if i else name
    proto = ir.to_proto(named)
    del proto.graph.value_info[:]  # of the constants, which have their shapes themselves
    return proto


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
