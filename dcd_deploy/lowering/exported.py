"""What ``torch.fx`` cannot follow, captured by ``torch.export``: it runs the module on tensors without values.

Each dynamic layer stands behind one operator of ours, so that it stays a leaf; afterwards it is a module again.

    forward(x) → dcd_deploy::dynamic_layer(x, operand, index) → CanonicalLayer at its own path
"""

from __future__ import annotations

import inspect
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._ops import OpOverload

from dcd_deploy.dynamic.canonical import CanonicalLayer
from dcd_deploy.dynamic.float64 import InFloat64
from dcd_deploy.lowering.graph import op_name
from dcd_deploy.lowering.network import Network

aten = torch.ops.aten
PARTS = frozenset(
    {"select", "slice", "narrow", "view", "transpose", "permute", "unsqueeze", "squeeze", "expand", "index"}
)
VARIADIC = inspect.Parameter.VAR_POSITIONAL
ASSERTING = ("_assert", "sym_constrain_range")
LAYERS: list[CanonicalLayer] = []  # those of the capture in progress, by the index in the operator's call


def _compute(x: Tensor, operand: Tensor | None, index: int) -> Tensor:
    y: Tensor = LAYERS[index](x, operand)
    return y.clone()


def _output_shape(x: Tensor, operand: Tensor | None, index: int) -> Tensor:
    del operand
    g = LAYERS[index].operator.geometry
    if g.vector:
        return x.new_empty(x.shape[0], g.K)
    sides = (
        (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        for size, padding, dilation, kernel, stride in zip(
            x.shape[2:], g.padding, g.dilation, g.kernel, g.stride, strict=True
        )
    )
    return x.new_empty(x.shape[0], g.K, *sides)


_dynamic_layer = torch.library.custom_op("dcd_deploy::dynamic_layer", _compute, mutates_args=())
_dynamic_layer.register_fake(_output_shape)
OPERATOR = torch.ops.dcd_deploy.dynamic_layer


def graph_by_export(network: Network, layers: dict[str, CanonicalLayer], *, one: bool) -> fx.GraphModule:
    """Return the graph of a network, with its dynamic layers as modules: for any batch, or for ``one`` input alone.

    Raises:
        Exception: whatever torch.export raises.
    """
    with _standing_in(network.module, layers):
        program = _exported_for_one(network) if one else _exported(network)
        if _writes_into_parts(program):
            with warnings.catch_warnings(action="ignore"):  # torch's own remarks about itself
                program = program.run_decompositions({})
    made = program.module(check_guards=False)
    assert isinstance(made, fx.GraphModule)
    drop_assertions(made)
    _name_norms(made)
    _calls_of_layers(made, layers)
    made.graph.set_codegen(fx.graph.CodeGen())  # inputs and outputs are flat already
    return fx.GraphModule(made, made.graph, type(network.module).__name__)


def _exported_for_one(network: Network) -> torch.export.ExportedProgram:
    with torch.no_grad(), InFloat64(recorded=True), _quiet():
        return torch.export.export(network.module, network.examples, strict=False)


def _exported(network: Network) -> torch.export.ExportedProgram:
    with torch.no_grad(), InFloat64(recorded=True), _quiet():
        twice = tuple(torch.cat([each, each]) for each in network.examples)
        free = free_batch(network.module, len(twice), torch.export.Dim("N", min=1))
        return torch.export.export(network.module, twice, dynamic_shapes=free, strict=False)


def free_batch(network: nn.Module, inputs: int, size: Any) -> tuple[Any, ...]:
    """Return dynamic shapes whose first dimension is of a free ``size``, one for all, as it takes its arguments."""
    free = {0: size}
    kinds = [parameter.kind for parameter in inspect.signature(network.forward).parameters.values()]
    named = kinds.index(VARIADIC) if VARIADIC in kinds else inputs
    return (free,) * inputs if named >= inputs else (*(free,) * named, (free,) * (inputs - named))


def _writes_into_parts(program: torch.export.ExportedProgram) -> bool:
    """Whether a part of a tensor is changed, as by ``y[:, 0] = …``: what reads the whole afterwards sees it."""
    return any(
        isinstance(node.target, OpOverload)
        and node.target._schema.is_mutable  # noqa: SLF001 - there is no public question
        and op_name(node.args[0]) in PARTS
        for node in program.graph.nodes
        if node.op == "call_function" and node.args and isinstance(node.args[0], fx.Node)
    )


def drop_assertions(made: fx.GraphModule) -> None:
    """Take out what torch, or the network, asserts of the example; passes would keep all that an assertion reads."""
    for node in reversed(list(made.graph.nodes)):
        if node.op == "call_function" and not node.users and op_name(node).startswith(ASSERTING):
            made.graph.erase_node(node)


def _name_norms(made: fx.GraphModule) -> None:
    """Give norms of a program without changes in place the name that passes know."""
    for node in list(made.graph.nodes):
        if node.target == aten._native_batch_norm_legit_no_training.default:  # noqa: SLF001 - torch's own name
            *given, momentum, eps = node.args
            with made.graph.inserting_before(node):
                norm = made.graph.call_function(aten.batch_norm.default, (*given, False, momentum, eps, False))
            norm.meta = dict(node.meta)
            for first in list(node.users):
                first.replace_all_uses_with(norm)
                made.graph.erase_node(first)
            made.graph.erase_node(node)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep off the user's terminal the graphs that torch prints of what it cannot follow; its errors are raised."""
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _standing_in(module: nn.Module, layers: dict[str, CanonicalLayer]) -> Iterator[None]:
    """Let each dynamic layer call the one operator while the module is exported."""
    parts = [module.get_submodule(path) for path in layers]
    LAYERS[:] = layers.values()
    try:
        for index, part in enumerate(parts):
            part.forward = _calling(index)
        yield
    finally:
        for part in parts:
            vars(part).pop("forward", None)
        LAYERS.clear()


def _calling(index: int) -> Callable[..., Tensor]:
    """Return a forward that takes what the layer's own takes, in its order."""

    def forward(*given: Tensor, **named: Tensor) -> Tensor:
        x, *operand = (one for one in (*given, *named.values()) if isinstance(one, Tensor))
        y: Tensor = _dynamic_layer(x, operand[0] if operand else None, index)
        return y

    return forward


def _calls_of_layers(made: fx.GraphModule, layers: dict[str, CanonicalLayer]) -> None:
    """Put calls of the dynamic layers in place of calls of the operator."""
    paths = list(layers)
    for node in list(made.graph.nodes):
        if node.op == "get_attr" and not node.users:  # weights of what stands behind the operator
            made.graph.erase_node(node)
        if node.op != "call_function" or getattr(node.target, "overloadpacket", None) != OPERATOR:
            continue
        *operands, index = node.args
        path = paths[index]
        put_module(made, path, layers[path])
        with made.graph.inserting_before(node):
            call = made.graph.call_module(path, tuple(one for one in operands if one is not None))
        call.meta = dict(node.meta)
        node.replace_all_uses_with(call)
        made.graph.erase_node(node)


def put_module(root: nn.Module, path: str, module: nn.Module) -> None:
    """Put a module at a path, in place of what is there, with empty modules on the way where there are none."""
    *parents, name = path.split(".")
    for parent in parents:
        inner = root._modules.get(parent)  # noqa: SLF001 - get_submodule raises where there is none
        if inner is None:
            inner = nn.Module()
            root.add_module(parent, inner)
        root = inner
    root._modules[name] = module  # noqa: SLF001 - a parameter's holder may stand there already
