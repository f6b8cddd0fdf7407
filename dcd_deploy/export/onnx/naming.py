"""Names for the nodes of an ONNX graph (``naming``).

torch's exporter notes for each node in which module it arose; simplification drops the notes but keeps the names of
outputs, by which they are found again.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

import onnx
import onnx_ir as ir

from dcd_deploy.export.naming import Places, unique_names, with_neighbours
from dcd_deploy.lowering.places import find_place

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
