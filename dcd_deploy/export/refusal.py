"""What a converter refused: the operator, where in the trained network it stands, and what helps.

Only an operator of a dynamic layer's lowering can be another one; what the network computes itself stays what it is.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

from torch import fx, nn

from dcd_deploy.errors import ExportError
from dcd_deploy.lowering.graph import WITHIN, op_name, place
from dcd_deploy.lowering.lowering import Lowering

STACK = "nn_module_stack"  # torch's note of the modules around a node, in the ``meta`` of what it traced
LOWERING = "try another `lowering`"
ONNX_INSTEAD = ", or export `to` onnx"
LEGALIZED = re.compile(r"failed to legalize operation '([\w.]+)'")
ORDINARY = "write it in other operators, or end the network before it and compute the rest in the app"


@dataclass(frozen=True)
class Culprit:
    """An operator in torch's words, "in 'path'" of the trained network, and whether a dynamic layer's lowering has it.

    ``where`` is empty if it is not known.
    """

    operator: str
    where: str
    dynamic: bool

    def __str__(self) -> str:
        return f"{self.operator} {self.where}".strip()


def refused(exporter: str, network: nn.Module, error: BaseException, said: str, otherwise: str = "") -> ExportError:
    """Return the error for what an exporter raised on a deploy form; ``otherwise`` is what else helps, ", or …"."""
    node = _node_at(error)
    found = named_in(network, said) if node is None else culprit(network, node)
    of = f" for {found}" if found else ""
    return ExportError(f"{exporter} refused the network{of}: {said}; {advice(network, found)}{otherwise}")


def advice(network: nn.Module, found: Culprit | None) -> str:
    """Return what helps against a refused operator; where none is known, of a network with dynamic layers both."""
    if found is not None:
        return LOWERING if found.dynamic else ORDINARY
    both = any(isinstance(part, Lowering) for part in network.modules())
    return f"{LOWERING}, or {ORDINARY}" if both else ORDINARY


def named_in(network: nn.Module, said: str) -> Culprit | None:
    """Return what a message names that has no node: one of the deploy form's modules, as litert's converter writes it.

    loc("….Call_net_head_static_pow;"("pow_1")): failed to legalize operation 'tfl.pow'
    """
    calls = network.graph.nodes if isinstance(network, fx.GraphModule) else ()
    named = [node for node in calls if node.op == "call_module" and f"_{node.target};" in said]
    if not named:
        return None
    node = max(named, key=lambda node: len(str(node.target)))
    dynamic = isinstance(network.get_submodule(str(node.target)), Lowering)
    operation = LEGALIZED.search(said)
    return Culprit(operation[1] if operation else "an operator", _where(node, dynamic=dynamic), dynamic)


def culprit(network: nn.Module, node: fx.Node) -> Culprit:
    """Return what a node is that an exporter made of a deploy form, or of any other module."""
    operator, traced = op_name(node), module_path(node)
    if not isinstance(network, fx.GraphModule):
        return Culprit(operator, f"in '{traced}'" if traced else "", dynamic=False)
    called = traced.partition(".")[0]
    for one in network.graph.nodes:
        if one.target == called or (not called and op_name(one) == operator):
            dynamic = one.op == "call_module" and isinstance(network.get_submodule(str(one.target)), Lowering)
            return Culprit(operator, _where(one, dynamic=dynamic), dynamic)
    return Culprit(operator, "", dynamic=False)


def _where(node: fx.Node, *, dynamic: bool) -> str:
    """Return which submodule of the trained network a node of the deploy form stands in, or else which layer behind."""
    found = place(node)
    if within := found.layer if found and dynamic else node.meta.get(WITHIN):
        return f"in '{within}'"
    return f"behind '{found.layer}'" if found else ""


def module_path(node: fx.Node) -> str:
    """Return the path of the module that an exporter traced a node in; empty where it is the network itself."""
    stack = node.meta.get(STACK)
    path = str(next(reversed(stack.values()))[0]) if stack else ""
    for around in ("L['self']", "network"):  # torch's name of the whole, and ``NamedNetwork``'s of what is in it
        path = path.removeprefix(around).removeprefix(".")
    return path


def _node_at(error: BaseException | None) -> fx.Node | None:
    """Return the node that was being converted, from the frames that an error and its causes passed."""
    found: fx.Node | None = None
    while error is not None:
        for one in _nodes_in(error):
            found = one
        error = error.__cause__
    return found


def _nodes_in(error: BaseException) -> Iterator[fx.Node]:
    for frame, _ in traceback.walk_tb(error.__traceback__):
        yield from (one for one in frame.f_locals.values() if isinstance(one, fx.Node) and one.op == "call_function")
