"""Operators that work on each value by itself: they stay in the layout that their operands have.

And which values of a network are nowhere negative, whatever goes in.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, fx

from dcd_deploy.lowering.channels_last.layout import Layout
from dcd_deploy.lowering.channels_last.settings import Settings, name_and_settings
from dcd_deploy.lowering.channels_last.site import Laid, Site, is_constant
from dcd_deploy.lowering.graph import NetworkGraph

ALWAYS = frozenset({"relu", "relu6", "sigmoid", "hardsigmoid", "softplus", "softmax", "abs", "square", "exp"})
# those whose values are, where all of their operands are
KEEPING = frozenset(
    [
        "add",
        "mul",
        "max_pool2d",
        "avg_pool2d",
        "adaptive_avg_pool2d",
        "adaptive_max_pool2d",
        "cat",
        "concat",
        "concatenate",
        "chunk",
        "split",
        "getitem",
        "interpolate",
        "pixel_shuffle",
        "identity",
        "contiguous",
        "clone",
        "detach",
        "mean",
        "sum",
        "amax",
        "flatten",
        "view",
        "reshape",
        "permute",
        "maximum",
        "upsample_nearest2d",
        "upsample_bilinear2d",
    ]
)
CLAMPS: dict[str, Callable[[Settings], object]] = {
    "clamp": lambda settings: settings.get("min"),
    "clip": lambda settings: settings.get("min"),
    "clamp_min": lambda settings: settings.get("min"),
    "hardtanh": lambda settings: settings.get("min_val", -1.0),
}


def positive_values(graph: NetworkGraph) -> frozenset[fx.Node]:
    """Return the nodes whose tensors are nowhere negative."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op not in ("call_module", "call_function", "call_method"):
            continue
        name, settings = name_and_settings(node, graph.submodule(node))
        lowest = CLAMPS[name](settings) if name in CLAMPS else None
        kept = name in KEEPING and bool(node.all_input_nodes) and set(node.all_input_nodes) <= found
        if name in ALWAYS or _at_least_zero(lowest) or (kept and _no_numbers(node, name)):
            found.add(node)
    return frozenset(found)


def _no_numbers(node: fx.Node, name: str) -> bool:
    """Whether nothing is added or multiplied but tensors: a number may be negative."""
    return name not in ("add", "mul") or (all(isinstance(a, fx.Node) for a in node.args) and not node.kwargs)


def _at_least_zero(value: object) -> bool:
    return isinstance(value, int | float) and value >= 0


UNARY = [
    "abs",
    "celu",
    "clamp",
    "clamp_max",
    "clamp_min",
    "clip",
    "cos",
    "elu",
    "erf",
    "exp",
    "floor",
    "gelu",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "log",
    "log1p",
    "logsigmoid",
    "mish",
    "neg",
    "reciprocal",
    "relu",
    "relu6",
    "round",
    "rsqrt",
    "selu",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "softplus",
    "softsign",
    "sqrt",
    "square",
    "tanh",
]
BINARY = ["add", "div", "eq", "ge", "gt", "le", "lt", "maximum", "minimum", "mul", "ne", "pow", "rsub", "sub", "where"]
NOTHING = ("identity", "contiguous", "clone", "detach", "alias")


def elementwise(site: Site) -> Laid | str | None:
    """Return the operator on operands of one layout, to which constants are turned."""
    operands = [value for value in site.node.all_input_nodes if site.shape_of(value) is not None]
    layouts = {site.lies(value) for value in operands}
    rank = site.rank(site.node)
    if Layout.LAST in layouts and rank == 4:
        return _in_layout(site, operands, Layout.LAST, rank)
    if Layout.ROW in layouts and rank == 2:
        return _in_layout(site, operands, Layout.ROW, rank)
    return None if layouts <= {Layout.PLAIN} else "its operands have different ranks"


def _in_layout(site: Site, operands: list[fx.Node], layout: Layout, rank: int) -> Laid | str:
    for value in operands:
        if site.rank(value) != rank and not is_constant(value) and not _single(site, value):
            return "its operands have different ranks"

    def taken(value: fx.Node) -> fx.Node:
        if site.shape_of(value) is None or (_single(site, value) and site.rank(value) != rank):
            return site.take(value, Layout.PLAIN)
        return site.take(value, layout)

    return site.again(layout, taken)


def _single(site: Site, value: fx.Node) -> bool:
    """Whether a value is one number, at any batch size."""
    return site.shape_of(value) in ((), (1,))


def scaled(site: Site) -> Laid | str | None:
    """Return a sum or difference; the converter knows none with a factor (``alpha``), which is a product before it."""
    factor, other, laid = site.settings.get("alpha", 1), site.settings.get("other"), elementwise(site)
    if factor == 1 or isinstance(laid, str) or site.shape_of(other) is None:
        return laid
    first = site.node.args[0] if site.node.args else site.node.kwargs["input"]
    if laid is None:
        layout = Layout.PLAIN
        operands = [site.take(value, layout) if isinstance(value, fx.Node) else value for value in (first, other)]
    else:
        named = (laid.node.kwargs[key] for key in ("input", "other") if key in laid.node.kwargs)
        layout, operands = laid.layout, [*laid.node.args[:2], *named]
    return site.call(plus_times, layout, *operands, -factor if site.name == "sub" else factor)


def plus_times(x: Tensor | float, other: Tensor, factor: float) -> Tensor:
    """Return x + factor · other."""
    return x + other * factor


def nothing(site: Site) -> Laid:
    """Return the operand itself."""
    layout = site.lies(site.operand)
    return site.same(site.take(site.operand, layout), layout)


ENTRIES = {
    **dict.fromkeys([*UNARY, "type_as"], elementwise),
    **dict.fromkeys(BINARY, elementwise),
    **dict.fromkeys(NOTHING, nothing),
}
