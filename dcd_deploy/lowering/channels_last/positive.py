"""Which values of a network are nowhere negative, whatever goes in."""

from __future__ import annotations

from collections.abc import Callable

from torch import fx

from dcd_deploy.lowering.channels_last.settings import Settings, name_and_settings
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
