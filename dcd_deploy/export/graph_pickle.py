"""Pickles of modules with graphs in them, which go from one process of ours to another.

torch pickles a ``GraphModule`` as Python text, and traces that anew; text does not hold every constant, nor names. Here
it is its submodules, its tensors and its nodes.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

from torch import fx, nn
from torch.fx.node import map_aggregate

MEMBERS = ("_modules", "_parameters", "_buffers")
KNOWN = {"torch", "dcd_deploy", "builtins", "operator", "_operator", "math"}


def pickled(value: Any) -> bytes:
    """Return a pickle, which ``pickle.loads`` reads; of modules and graphs alone that hold nothing of a user's own.

    Raises:
        Exception: of whatever kind, by what cannot be pickled.
    """
    content = io.BytesIO()
    _Pickler(content, pickle.HIGHEST_PROTOCOL).dump(value)
    return content.getvalue()


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        """Return how a graph is made anew; all else is pickled as ever, but what is a user's."""
        if not isinstance(value, fx.GraphModule):
            if isinstance(value, nn.Module):
                _check_known(type(value))
            return NotImplemented
        for node in value.graph.nodes:
            _check_known(node.target)
        nodes = [
            (node.op, node.target, fx.map_arg((node.args, node.kwargs), lambda one: _Node(one.name)), node.name)
            for node in value.graph.nodes
        ]
        return _graph, ({name: getattr(value, name) for name in MEMBERS}, nodes, value.training)


def _check_known(value: Any) -> None:
    """Refuse a class or function of the user's own: it may have been changed here since it was imported."""
    home = getattr(value, "__module__", None)
    if callable(value) and home is not None and str(home).partition(".")[0] not in KNOWN:
        raise pickle.PicklingError(f"{value!r} is neither torch's nor ours")


class _Node(str):
    """The name of a node, in the place of what it gives."""

    __slots__ = ()


def _graph(members: dict[str, Any], nodes: list[tuple[Any, ...]], training: bool) -> fx.GraphModule:  # noqa: FBT001
    root, graph = nn.Module(), fx.Graph()
    root.__dict__.update(members)
    made: dict[str, fx.Node] = {}
    for op, target, arguments, name in nodes:
        args, kwargs = map_aggregate(arguments, lambda one: made[one] if isinstance(one, _Node) else one)
        made[name] = graph.create_node(op, target, args, kwargs, name)
    module = fx.GraphModule(root, graph)
    module.training = training
    return module
