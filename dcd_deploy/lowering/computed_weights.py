"""Which submodules convolve with weights that they compute from an input: dynamic convolutions of whatever kind.

    conv2d(x, w)      w hangs on the values of an input, not on weights alone: WeightNet, DY-Conv of signals, …

Those of known families are leaves of the graph by then. The others are right as ordinary operators, and their user is
told. Products of two maps, as attention has them, are no convolutions.
"""

from __future__ import annotations

from torch import fx

from dcd_deploy.lowering.graph import WITHIN, NetworkGraph, op_name

CONVOLUTIONS = frozenset(
    {"conv1d", "conv2d", "conv3d", "convolution", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}
)
# What tells of a tensor its sizes alone, and no value
SIZES = frozenset({"size", "sym_size", "dim", "numel", "getattr"})
SIZES |= {f"{made}_like" for made in ("zeros", "ones", "full", "empty", "rand", "randn")}
SIZES |= {f"new_{made}" for made in ("zeros", "ones", "full", "empty", "tensor")}
FAMILIES = "DCD, DY-Conv, CondConv, ODConv"


def computing_weights(graph: NetworkGraph) -> dict[str, str]:
    """Return, by the path of the submodule, the function that convolves; "" is the network itself."""
    found: dict[str, str] = {}
    for node in convolving(graph):
        found.setdefault(str(node.meta.get(WITHIN, "")), op_name(node))
    return found


def convolving(graph: NetworkGraph) -> list[fx.Node]:
    """Return the convolutions whose weights hang on the values of an input, not on weights alone."""
    found: list[fx.Node] = []
    from_inputs: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder" or (op_name(node) not in SIZES and from_inputs & set(node.all_input_nodes)):
            from_inputs.add(node)
        if _weight(node) in from_inputs:
            found.append(node)
    return found


def _weight(node: fx.Node) -> object:
    """Return the weight of a convolution that is a function; one that is a module has its own."""
    if node.op != "call_function" or op_name(node) not in CONVOLUTIONS:
        return None
    return node.args[1] if len(node.args) > 1 else node.kwargs.get("weight")


def notes_of(graph: NetworkGraph, known: set[str]) -> list[str]:
    """Return what a user is told of them; ``known`` are the paths of layers of which something else is said."""
    within = computing_weights(graph)
    return [
        f"{repr(path) if path else 'the module itself'} convolves ({function}) with weights that it computes, and is "
        f"none of the families that are known ({FAMILIES}): it is exported as ordinary operators"
        for path, function in within.items()
        if not any(path == one or path.startswith(f"{one}.") for one in known)
    ]
