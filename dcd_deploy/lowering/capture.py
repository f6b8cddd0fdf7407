"""A module → its graph, with dynamic layers as leaves, each proved equal to its canonical operator.

    module → which layers are dynamic (``dynamic_layers``)
           → torch.fx; where it cannot follow, torch.export (``exported``)
           → functions with constant weights become modules again (``reassemble``)
           → shapes and places noted; the graph compared with the module in float64
           → notes: which layers are refused, which convolve with weights that they compute

``torch.fx`` runs the module's own Python once, with stand-ins for tensors, so that names of the trained form stay on
the nodes. It cannot follow control flow that depends on shapes or values; ``torch.export`` can on shapes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, fx, nn

from dcd_deploy.dynamic.canonical import CanonicalLayer
from dcd_deploy.dynamic.float64 import InFloat64
from dcd_deploy.dynamic.operator import DynamicOperator, Refusal
from dcd_deploy.errors import CaptureError
from dcd_deploy.lowering import computed_weights
from dcd_deploy.lowering.annotate import annotate_places, annotate_shapes
from dcd_deploy.lowering.compared import check_same
from dcd_deploy.lowering.dynamic_layers import Expected, Where, dynamic_layers, here
from dcd_deploy.lowering.exported import drop_assertions, graph_by_export
from dcd_deploy.lowering.failure import at, first_line
from dcd_deploy.lowering.graph import ORIGIN, NetworkGraph
from dcd_deploy.lowering.made_constants import fold_constants
from dcd_deploy.lowering.network import Network
from dcd_deploy.lowering.positions import drop_positions
from dcd_deploy.lowering.precision import name_single
from dcd_deploy.lowering.reassemble import reassemble
from dcd_deploy.lowering.reshapes import reshape_views

COMPUTING = ("forward", "__call__", "_conv_forward", "_output_padding")  # methods that say what a layer computes
BODY = "body"  # where a ``NamedGraph`` has the graph


@dataclass(frozen=True)
class Captured:
    """The graph of a network, its dynamic layers that were proved, and those that are left as ordinary operators.

    The graph's dynamic layers are ``CanonicalLayer`` modules, so that it runs as it is. ``outstanding``, where there is
    any, makes up for the proofs that were put off.
    """

    network: Network
    graph: NetworkGraph
    operators: dict[str, DynamicOperator]
    refused: dict[str, Refusal]
    outstanding: Callable[[], Captured | None] | None = None

    def proved(self) -> Captured:
        """Return this with every dynamic layer proved, or what is captured anew where one was not as expected."""
        if self.outstanding is None:
            return self
        return self.outstanding() or replace(self, outstanding=None)

    def as_module(self) -> nn.Module:
        """Return the graph as a module that gives its outputs by name, whose dynamic layers can be observed."""
        return NamedGraph(self.graph)


class NamedGraph(nn.Module):
    """A graph whose output is a dict of its tensors."""

    def __init__(self, graph: NetworkGraph) -> None:
        super().__init__()
        self.names = graph.outputs
        self.one_at_a_time = graph.batch == 1
        self.add_module(BODY, graph.module)

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        return dict(zip(self.names, self.get_submodule(BODY)(*inputs), strict=True))


def capture(network: Network, leaf: Sequence[str] = (), where: Where = here) -> Captured:
    """Capture a network; the submodules at the paths of ``leaf`` are kept whole, as ordinary operators.

    ``where`` says where the layers are proved.

    Raises:
        CaptureError: neither way can follow the module's forward; the message names the submodule and the reason.
    """
    _check_leaves(network.module, leaf)
    operators, refused = dynamic_layers(network, leaf, where)
    graph = _graph(network, operators, tuple(leaf))
    if not operators:
        graph.notes.append("no dynamic layer was recognised in it: it is exported as it is")
    graph.notes += [f"'{path}' is exported as ordinary operators: {why.reason}" for path, why in refused.items()]
    graph.notes += computed_weights.notes_of(graph, set(refused))
    return Captured(network, graph, operators, refused)


def capture_expecting(network: Network, leaf: Sequence[str] = ()) -> Captured:
    """Capture a network as ``capture`` does, with most proofs put off until ``Captured.proved`` is called.

    Raises:
        CaptureError: as ``capture`` does.
    """
    expected = Expected()
    try:
        found = capture(network, leaf, expected)
    except CaptureError:  # perhaps of a layer that is not what was expected
        return capture(network, leaf)
    return replace(found, outstanding=lambda: None if expected.proved() else capture(network, leaf))


def _graph(network: Network, operators: dict[str, DynamicOperator], leaf: tuple[str, ...]) -> NetworkGraph:
    """Return the graph that torch.fx makes, or else torch.export, whichever first computes what the module does.

    fx is first: it is quicker, and keeps every name. Besides control flow it can miss a change in place. torch.export
    takes the batch as free, and in the end as the example's: what hangs on its size is then that of one input.
    """
    layers = {path: CanonicalLayer(operator) for path, operator in operators.items()}
    ways: tuple[Callable[[], NetworkGraph], ...] = (
        lambda: _checked(network, _by_fx(network, layers, leaf)),
        lambda: _checked(network, graph_by_export(network, layers, one=False)),
        lambda: replace(_checked(network, graph_by_export(network, layers, one=True)), batch=1),
    )
    errors: list[Exception] = []
    for way in ways:
        try:
            return way()
        except Exception as error:  # noqa: BLE001 - whatever the module's Python raises on stand-ins
            errors.append(error)
    by_fx, *_, last = errors
    if isinstance(last, CaptureError):
        raise last
    raise CaptureError(
        f"the module's forward cannot be followed{at(network.module, last)}: {first_line(last)} "
        f"(torch.fx: {first_line(by_fx)}); make its control flow independent of the data, or "
        "export a module without it"
    ) from last


def _checked(network: Network, made: fx.GraphModule) -> NetworkGraph:
    """Return a traced graph with its functions reassembled, its shapes and places noted, and its outputs compared."""
    _flatten_output(made)
    name_single(made)
    drop_positions(made)
    reshape_views(made)
    graph = NetworkGraph(made, network.inputs, network.outputs, list(network.notes))
    reassemble(graph)
    fold_constants(graph)
    answers = annotate_shapes(graph.module, *network.examples)
    annotate_places(graph)
    check_same(network, answers)
    return graph


class _Tracer(fx.Tracer):
    """Keeps dynamic layers, torch's own layers, and what the user named whole."""

    def __init__(self, whole: set[nn.Module]) -> None:
        super().__init__()
        self.whole = whole

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        del module_qualified_name
        return m in self.whole or (is_torch_layer(m) and not m._forward_hooks and not m._forward_pre_hooks)  # noqa: SLF001

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Call the hooks of what is kept whole, which fx passes by."""
        found = super().call_module(m, forward, args, kwargs)
        for hook in m._forward_hooks.values() if m in self.whole else ():  # noqa: SLF001
            changed = hook(m, args, found)
            found = found if changed is None else changed
        return found


def is_torch_layer(module: nn.Module) -> bool:
    """Whether a module computes what a layer of torch does: it is one, or a subclass that changes no computation."""
    base = next((cls for cls in type(module).__mro__ if cls.__module__.startswith("torch.nn.")), nn.Module)
    if base is nn.Module or isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        return False
    return all(getattr(type(module), name, None) is getattr(base, name, None) for name in COMPUTING)


def _by_fx(network: Network, layers: dict[str, CanonicalLayer], leaf: tuple[str, ...]) -> fx.GraphModule:
    module = network.module
    whole = {module.get_submodule(path) for path in (*layers, *leaf)}
    tracer = _Tracer(whole)
    names = _free_arguments(module, len(network.examples))
    with InFloat64(recorded=True):
        graph = tracer.trace(module, concrete_args=names or None)
    made = fx.GraphModule(module, graph, type(module).__name__)
    drop_assertions(made)
    _keep_parts(made, layers)
    for path, layer in layers.items():
        parent, _, name = path.rpartition(".")
        setattr(made.get_submodule(parent), name, layer)
    _order_operands(made, layers)
    return made


def _keep_parts(made: fx.GraphModule, layers: Iterable[str]) -> None:
    """Keep what a network reads of a dynamic layer from outside it (``self.dy.weight``), when the layer is replaced."""
    kept: dict[str, str] = {}
    for node in made.graph.nodes:
        path = str(node.target)
        if node.op not in ("get_attr", "call_module") or not any(path.startswith(f"{layer}.") for layer in layers):
            continue
        if path not in kept:
            owner, _, name = path.rpartition(".")
            value = getattr(made.get_submodule(owner), name)
            kept[path] = free = f"{path.replace('.', '_')}_kept"
            if isinstance(value, nn.Module | nn.Parameter):
                setattr(made, free, value)
            else:
                made.register_buffer(free, value)
        node.meta[ORIGIN], node.target = path, kept[path]


def _free_arguments(module: nn.Module, count: int) -> dict[str, Any]:
    """Return the arguments of ``forward`` beyond the inputs, at their defaults."""
    arguments = list(inspect.signature(module.forward).parameters.values())
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        a.name: a.default for a in arguments[count:] if a.kind in plain and a.default is not inspect.Parameter.empty
    }


def _flatten_output(module: fx.GraphModule) -> None:
    """Make the graph's output a flat tuple of tensors, in the order of their names."""
    (output,) = (node for node in module.graph.nodes if node.op == "output")
    output.args = (tuple(_nodes_in(output.args[0])),)
    module.recompile()


def _nodes_in(value: object) -> list[fx.Node]:
    if isinstance(value, fx.Node):
        return [value]
    if isinstance(value, dict):
        return [node for one in value.values() for node in _nodes_in(one)]
    if isinstance(value, tuple | list):
        return [node for one in value for node in _nodes_in(one)]
    return []


def _order_operands(made: fx.GraphModule, layers: dict[str, CanonicalLayer]) -> None:
    """Pass what a dynamic layer gets by name in the order of its forward."""
    for node in made.graph.nodes:
        if node.op == "call_module" and node.target in layers and node.kwargs:
            node.args = (*node.args, *(v for v in node.kwargs.values() if isinstance(v, fx.Node)))
            node.kwargs = {}
    made.recompile()


def _check_leaves(module: nn.Module, leaf: Sequence[str]) -> None:
    known = dict(module.named_modules())
    for path in leaf:
        if path not in known:
            raise CaptureError(
                expected="the path of a submodule as leaf", found=f"'{path}'", advice="it has none of that name"
            )
