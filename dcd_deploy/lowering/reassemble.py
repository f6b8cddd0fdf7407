"""Functions with constant weights become the layers of torch that they compute, so that passes know one spelling.

conv2d(x, weight, bias, stride, …)     →  nn.Conv2d          as a user's own subclass, or torch.export, writes it
batch_norm(x, mean, var, …)            →  nn.BatchNorm2d     in eval mode
linear(x, weight, bias)                →  nn.Linear
y += x, relu_(y), ReLU(inplace=True)   →  y = y + x, …       what reads y afterwards reads the result
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from dcd_deploy.lowering.graph import ORIGIN, NetworkGraph, op_name
from dcd_deploy.lowering.layers import conv_of, frozen, linear_of

OUT_OF_PLACE = {operator.iadd: operator.add, operator.imul: operator.mul, operator.isub: operator.sub}
OUT_OF_PLACE |= {operator.itruediv: operator.truediv}


def reassemble(graph: NetworkGraph) -> None:
    """Change the graph so, in place."""
    changing = _changing_modules(graph)
    for node in list(graph.nodes):
        if _made_out_of_place(node, changing):
            _read_result(graph, node)
    for node in list(graph.nodes):
        if node.op == "call_function" and (make := MAKERS.get(op_name(node))) is not None:
            _as_module(graph, node, make)
    graph.recompiled()


def _changing_modules(graph: NetworkGraph) -> set[str]:
    """Return the paths of modules that change their operand, with copies in their place that do not."""
    found = set()
    for node in graph.nodes:
        module = graph.submodule(node)
        if getattr(module, "inplace", False) is True:
            found.add(str(node.target))
            other = copy.copy(module)
            other.inplace = False  # type: ignore[union-attr]  # the flag of torch's activations
            graph.replace_module(node, other)  # type: ignore[arg-type]  # a module, with such a flag
    return found


def _read_result(graph: NetworkGraph, node: fx.Node) -> None:
    """Let what reads a node's operand after it read its result."""
    changed = node.args[0]
    assert isinstance(changed, fx.Node)
    later = False
    for other in list(graph.nodes):
        if later and changed in other.all_input_nodes:
            other.replace_input_with(changed, node)
        later = later or other is node


def _made_out_of_place(node: fx.Node, changing: set[str]) -> bool:
    """Whether a node changes its first operand; a function is replaced by one that does not."""
    if node.op == "call_module":
        return node.target in changing
    if node.op == "call_method" and str(node.target).endswith("_") and not str(node.target).endswith("__"):
        node.target = str(node.target)[:-1]
        return True
    if node.op != "call_function":
        return False
    if node.target in OUT_OF_PLACE:
        node.target = OUT_OF_PLACE[node.target]
        return True
    if node.kwargs.get("inplace") is True:
        node.kwargs = {**node.kwargs, "inplace": False}
        return True
    return _aten_out_of_place(node)


def _aten_out_of_place(node: fx.Node) -> bool:
    packet = getattr(node.target, "overloadpacket", None)
    name = getattr(packet, "__name__", "")
    if not name.endswith("_") or name.endswith("__"):
        return False
    plain = getattr(torch.ops.aten, name[:-1], None)
    if plain is None:
        return False
    node.target = plain
    return True


Maker = Callable[[dict[str, Any]], nn.Module | None]


def _as_module(graph: NetworkGraph, node: fx.Node, make: Maker) -> None:
    """Put a layer of torch in the place of a function, if all but its input is constant."""
    arguments = _arguments(graph, node)
    if arguments is None or (made := make(arguments)) is None:
        return
    path = graph.add_module(f"{_path(node)}.{op_name(node)}".lstrip("."), made)
    with graph.module.graph.inserting_before(node):
        call = graph.module.graph.call_module(path, (node.args[0] if node.args else node.kwargs["input"],))
    call.meta = dict(node.meta)
    if _path(node) and not any(other.meta.get(ORIGIN) == _path(node) for other in graph.nodes):
        call.meta[ORIGIN] = _path(node)
    node.replace_all_uses_with(call)
    graph.module.graph.erase_node(node)


def _path(node: fx.Node) -> str:
    """Return the path of the module whose forward calls the function."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack else ""


def _arguments(graph: NetworkGraph, node: fx.Node) -> dict[str, Any] | None:
    """Return a function's arguments by name, constants in place of their nodes; None where one is computed."""
    named = _by_name(node)
    if named is None:
        return None
    found: dict[str, Any] = {}
    for name, value in named.items():
        if name == "input":
            continue
        if isinstance(value, fx.Node):
            if value.op != "get_attr":
                return None
            value = _attribute(graph.module, str(value.target))  # noqa: PLW2901
        found[name] = value
    return found


def _by_name(node: fx.Node) -> dict[str, Any] | None:
    names = ORDERS[op_name(node)]
    if not hasattr(node.target, "overloadpacket") and op_name(node) == "batch_norm":
        names = FUNCTIONAL_NORM
    if len(node.args) > len(names):
        return None
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}


def _attribute(root: nn.Module, path: str) -> Any:
    for name in path.split("."):
        root = getattr(root, name)
    return root


def _conv(arguments: dict[str, Any]) -> nn.Module | None:
    weight = arguments["weight"]
    if not isinstance(weight, Tensor) or weight.dim() != 4:
        return None
    padding = arguments.get("padding", 0)
    return conv_of(
        weight,
        arguments.get("bias"),
        _pair(arguments.get("stride", 1)),
        padding if isinstance(padding, str) else _pair(padding),
        arguments.get("groups", 1),
        _pair(arguments.get("dilation", 1)),
    )


def _pair(value: Any) -> tuple[int, int]:
    sizes = [value] * 2 if isinstance(value, int) else list(value)
    return (sizes[0], sizes[-1])


def _linear(arguments: dict[str, Any]) -> nn.Module | None:
    weight = arguments["weight"]
    return linear_of(weight, arguments.get("bias")) if isinstance(weight, Tensor) and weight.dim() == 2 else None


def _norm(arguments: dict[str, Any]) -> nn.Module | None:
    mean, var = arguments.get("running_mean"), arguments.get("running_var")
    if arguments.get("training") or not isinstance(mean, Tensor) or not isinstance(var, Tensor):
        return None
    weight, bias = arguments.get("weight"), arguments.get("bias")
    with torch.device("meta"):
        norm = AnyBatchNorm(len(mean), eps=arguments.get("eps", 1e-5), affine=weight is not None or bias is not None)
    norm.running_mean, norm.running_var = mean.detach().clone(), var.detach().clone()
    norm.num_batches_tracked = torch.zeros((), dtype=torch.long)
    if norm.affine:
        norm.weight = frozen(torch.ones_like(mean) if weight is None else weight)
        norm.bias = frozen(torch.zeros_like(mean) if bias is None else bias)
    return norm.eval()


class AnyBatchNorm(nn.BatchNorm2d):
    """A BatchNorm on the second axis of any number of dimensions."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - torch's own name
        del input


CONV = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
ORDERS = {
    "conv2d": CONV,
    "linear": ("input", "weight", "bias"),
    "batch_norm": ("input", "weight", "bias", "running_mean", "running_var", "training", "momentum", "eps", "cudnn"),
}
FUNCTIONAL_NORM = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
MAKERS: dict[str, Maker] = {"conv2d": _conv, "linear": _linear, "batch_norm": _norm}
