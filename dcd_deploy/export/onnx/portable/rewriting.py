"""What the rewrites share: constants, new nodes in place of old ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

FREE = -1  # in Reshape's shape: whatever is left
Value = ir.Value | None  # an input of a node may be left out


def nodes_of(graph: ir.Graph, *operators: str) -> tuple[ir.Node, ...]:
    """Return the nodes of these standard operators; the graph may change while one goes through them."""
    return tuple(node for node in graph if node.domain == "" and node.op_type in operators)


def constant(value: Value) -> NDArray[Any] | None:
    """Return what a value is, where it is constant."""
    return None if value is None or value.const_value is None else value.const_value.numpy()


def maker(value: Value, operator: str) -> ir.Node | None:
    """Return the node that makes a value, where it is one of a standard operator."""
    node = None if value is None else value.producer()
    return node if node is not None and (node.domain, node.op_type) == ("", operator) else None


def attribute(node: ir.Node, name: str, default: Any) -> Any:
    """Return an attribute of a node."""
    found = node.attributes.get(name)
    return default if found is None else found.value


def sizes_for_reshape(value: Value) -> list[int] | None:
    """Return the shape of a value for Reshape, which leaves one size open; None where more are, or nothing is known."""
    if value is None or value.shape is None:
        return None
    sizes = [size if isinstance(size, int) else FREE for size in value.shape]
    return sizes if sizes.count(FREE) <= 1 else None


def added_constant(graph: ir.Graph, name: str, values: NDArray[Any]) -> ir.Value:
    """Return a new constant of a graph; its name is made one of its own."""
    taken, unique, number = graph.initializers, name, 1
    while unique in taken:
        number += 1
        unique = f"{name}_{number}"
    tensor = ir.tensor(np.array(values, order="C"), name=unique)  # numpy's ascontiguousarray makes scalars rows
    value = ir.Value(name=unique, shape=ir.Shape(values.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def before(node: ir.Node, operator: str, inputs: Sequence[Value], name: str, **attributes: Any) -> ir.Value:
    """Return the output of a new node that stands before another."""
    made = ir.node(operator, inputs, attributes)
    made.outputs[0].name, made.outputs[0].type = f"{node.outputs[0].name}/{name}", node.outputs[0].type
    _graph(node).insert_before(node, made)
    return made.outputs[0]


def replace(node: ir.Node, operator: str, inputs: Sequence[Value], **attributes: Any) -> None:
    """Put a new node of one output in the place of another, under the name of its output."""
    graph, old = _graph(node), node.outputs[0]
    made = ir.node(operator, inputs, attributes)
    new = made.outputs[0]
    new.name, new.type, new.shape = old.name, old.type, old.shape
    graph.insert_before(node, made)
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _graph(node: ir.Node) -> ir.Graph:
    graph = node.graph
    assert isinstance(graph, ir.Graph)  # no functions are left in a simplified graph
    return graph
