"""The graph while it is laid out: which values lie how, and one node at a time.

Every value has the layout in which it arose. Where it is read in another one, a conversion is put behind it, once for
each value and layout. A conversion that moves numbers in memory is noted as a cost, of the node that could not be laid
out: the one that reads the value as torch has it, or the one that gave it so. Those of the network's own inputs and
outputs are none: they say in which layout its user has them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, fx, nn

from dcd_deploy.lowering.channels_last.layout import (
    CONVERSIONS,
    RANKS,
    Layout,
    constant_in,
    shape_in,
)
from dcd_deploy.lowering.channels_last.settings import name_and_settings
from dcd_deploy.lowering.graph import SHAPE, NetworkGraph, constant_of, copy_meta, place, shape

FLOAT_BYTES = 4  # in the file


@dataclass(frozen=True)
class Laid:
    """A node of the laid-out graph, and how its value lies."""

    node: fx.Node
    layout: Layout


@dataclass(frozen=True)
class Conversion:
    """A transposition that was put in: of ``size`` bytes, since ``cause`` is not laid out; before it or after it."""

    node: fx.Node
    cause: fx.Node
    where: str
    size: int


@dataclass
class LaidGraph:
    """All values so far, by the nodes of the graph as it was; ``reasons`` why nodes were not laid out."""

    graph: NetworkGraph
    values: dict[fx.Node, dict[Layout, fx.Node]] = field(default_factory=dict)
    native: dict[fx.Node, Layout] = field(default_factory=dict)
    shapes: dict[fx.Node, tuple[int, ...] | None] = field(default_factory=dict)
    conversions: list[Conversion] = field(default_factory=list)
    reasons: dict[fx.Node, str] = field(default_factory=dict)
    positive: frozenset[fx.Node] = frozenset()  # nodes whose values are nowhere negative
    shared: dict[tuple[str, str], str] = field(default_factory=dict)  # what serves for all calls of a layer, by kind

    def settle(self, node: fx.Node, laid: Laid) -> None:
        """Note the value that stands for ``node``."""
        self.values[node] = {laid.layout: laid.node}
        self.native[node] = laid.layout

    def take(self, value: fx.Node, layout: Layout, reader: fx.Node) -> fx.Node:
        """Return a value in a layout that fits its rank; a constant in one that broadcasts like torch's."""
        known = self.values[value]
        if layout not in known:
            convert = self._constant if is_constant(value) else self._convert
            known[layout] = convert(value, layout, reader)
        return known[layout]

    def _constant(self, value: fx.Node, layout: Layout, reader: fx.Node) -> fx.Node:
        del reader
        constant = constant_in(layout, constant_of(self.graph, value).detach())
        name = f"{str(value.target).replace('.', '_')}_{layout.value}"
        while hasattr(self.graph.module, name):
            name += "_"
        self.graph.module.register_buffer(name, constant)
        with self.graph.module.graph.inserting_after(value):
            made = self.graph.module.graph.get_attr(name)
        return copy_meta(value, made, shape=tuple(constant.shape))

    def _convert(self, value: fx.Node, layout: Layout, reader: fx.Node) -> fx.Node:
        native = self.native[value]
        assert (native, layout) in CONVERSIONS, (
            f"'{value.name}' of shape {self.shapes[value]} cannot lie {layout.value}"
        )
        source = self.values[value][native]
        path = self.graph.add_module(f"{path_of(value)}_{layout.value}", CONVERSIONS[native, layout]())
        with self.graph.module.graph.inserting_after(source):
            made = self.graph.module.graph.call_module(path, (source,))
        logical = self.shapes[value]
        assert logical is not None
        copy_meta(value, made, shape=shape_in(layout, logical))
        if moves(logical) and value.op != "placeholder" and reader.op != "output":
            before = native is not Layout.PLAIN
            size = math.prod(logical) * FLOAT_BYTES
            cause, where = (reader, "before") if before else (value, "after")
            self.conversions.append(Conversion(made, cause, where, size))
        return made


def moves(logical: tuple[int, ...]) -> bool:
    """Whether to lay a value out otherwise moves its numbers in memory."""
    return len(logical) == 4 and logical[1] > 1 and logical[2] * logical[3] > 1


def is_constant(value: fx.Node) -> bool:
    """Whether a value is a weight of the network."""
    return value.op == "get_attr"


def path_of(node: fx.Node) -> str:
    """Return a path for modules that stand for a node."""
    return str(node.target) if node.op == "call_module" else node.name


def first_operand(node: fx.Node) -> fx.Node | None:
    """Return the value that an operator is called with first, by position or by name; None where it is no value."""
    operand = node.args[0] if node.args else node.kwargs.get("input")
    return operand if isinstance(operand, fx.Node) else None


class SeveralError(Exception):
    """A node of which one tensor is asked gives several; where it stands, it is left as torch has it."""


class Site:
    """One node that is to be laid out: what it does, to which values, and how what stands for it is put in."""

    def __init__(self, laid: LaidGraph, node: fx.Node) -> None:
        self.laid, self.node = laid, node
        self.module = laid.graph.submodule(node)
        self.name, self.settings = name_and_settings(node, self.module)

    @property
    def operand(self) -> fx.Node:
        """The first argument, without which nothing is laid out."""
        operand = first_operand(self.node)
        assert operand is not None
        return operand

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the node's tensor, as torch has it.

        Raises:
            SeveralError: it gives several.
        """
        found = shape(self.node)
        if found is None:
            raise SeveralError("it gives several tensors")
        return found

    def shape_of(self, value: object) -> tuple[int, ...] | None:
        """Return the shape of a value, as torch has it; None where it is no tensor."""
        return self.laid.shapes.get(value) if isinstance(value, fx.Node) else None

    def rank(self, value: object) -> int:
        """Return how many axes a value has for torch; -1 where it is no tensor."""
        found = self.shape_of(value)
        return -1 if found is None else len(found)

    def lies(self, value: object) -> Layout:
        """Return the layout in which a value arose; a map that the network is given can be had in either."""
        if not isinstance(value, fx.Node):
            return Layout.PLAIN
        if value.op == "placeholder" and self.rank(value) == RANKS[Layout.LAST]:
            return Layout.LAST
        return self.laid.native[value]

    def take(self, value: fx.Node, layout: Layout) -> fx.Node:
        """Return a value in a layout."""
        return self.laid.take(value, layout, self.node)

    def constant(self, name: str) -> Tensor | None:
        """Return a setting that is a tensor, if it is a weight of the network."""
        value = self.settings.get(name)
        if isinstance(value, fx.Node):
            return constant_of(self.laid.graph, value).detach() if is_constant(value) else None
        return value if isinstance(value, Tensor) else None

    def computed(self, *names: str) -> bool:
        """Whether one of these settings is computed by the network, and known only when it runs."""
        return any(isinstance(v := self.settings.get(name), fx.Node) and not is_constant(v) for name in names)

    def numbers(self, name: str, default: Any = None) -> tuple[int, int] | None:
        """Return a setting that is a number for both directions, or a list of one or two."""
        value = self.settings.get(name)
        if value is None or value == []:
            value = default
        if value is None:
            return None
        values = (value,) if isinstance(value, int) else tuple(value)
        if not all(isinstance(v, int) for v in values):
            return None
        return (values[0], values[-1])

    def put(self, module: nn.Module, layout: Layout, *operands: fx.Node, shared: str | None = None) -> Laid:
        """Call a module in the node's place; one of the same layer and ``shared`` kind serves for all of its calls."""
        path = path_of(self.node)
        known = self.laid.shared.get((path, shared or ""))
        if known is None:
            known = self.laid.graph.add_module(f"{path}_{shared or 'laid'}", module)
        if shared is not None:
            self.laid.shared[path, shared] = known
        with self.laid.graph.module.graph.inserting_before(self.node):
            made = self.laid.graph.module.graph.call_module(known, operands)
        return self._noted(made, layout)

    def call(self, function: Callable[..., Any], layout: Layout, *arguments: Any, **named: Any) -> Laid:
        """Call a function in the node's place."""
        arguments, named = fx.map_arg((arguments, named), self._current)
        with self.laid.graph.module.graph.inserting_before(self.node):
            made = self.laid.graph.module.graph.call_function(function, arguments, named)
        return self._noted(made, layout)

    def _current(self, value: fx.Node) -> fx.Node:
        """Return what stands for a value that is no tensor, such as a size."""
        if value in self.laid.values and self.laid.shapes[value] is None:
            return self.laid.values[value].get(Layout.PLAIN, value)
        return value

    def again(self, layout: Layout, taken: Callable[[fx.Node], fx.Node]) -> Laid:
        """Put the same operator in the node's place, on values that are taken in the layout."""
        with self.laid.graph.module.graph.inserting_before(self.node):
            made = self.laid.graph.module.graph.node_copy(self.node, taken)
        return self._noted(made, layout)

    def same(self, value: fx.Node, layout: Layout) -> Laid:
        """Return a value itself, which is what the node gives, if in another layout."""
        return Laid(value, layout)

    def _noted(self, made: fx.Node, layout: Layout) -> Laid:
        logical = shape(self.node)
        copy_meta(self.node, made, **{SHAPE: None if logical is None else shape_in(layout, logical)})
        return Laid(made, layout)

    @property
    def path(self) -> str:
        """The layer of the trained network that the node belongs to."""
        found = place(self.node)
        return found.layer if found else path_of(self.node)
