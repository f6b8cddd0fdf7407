"""Operators that work on each value by itself: they stay as they are, in the layout that their operands have."""

from __future__ import annotations

from torch import Tensor, fx

from dcd_deploy.lowering.channels_last.layout import Layout
from dcd_deploy.lowering.channels_last.site import Laid, Site, is_constant

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


ENTRIES = {**dict.fromkeys(UNARY, elementwise), **dict.fromkeys(BINARY, elementwise), **dict.fromkeys(NOTHING, nothing)}
