"""Graphs of small modules, laid out channels last, for the tests of that."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import fx

from dcd_deploy.lowering.annotate import annotate_shapes
from dcd_deploy.lowering.graph import NetworkGraph
from dcd_deploy.lowering.passes.lay_out import LayOut

EXACT = 1e-12
FLOAT32 = 5e-5


def graph_of(module, *examples):
    """Return the graph of a module in float64, with its shapes; its output is a flat tuple."""
    traced = fx.symbolic_trace(copy.deepcopy(module).double().eval())
    (output,) = (node for node in traced.graph.nodes if node.op == "output")
    given = output.args[0]
    output.args = (tuple(given) if isinstance(given, tuple | list) else (given,),)
    traced.recompile()
    annotate_shapes(traced, *examples)
    inputs = tuple(node.name for node in traced.graph.nodes if node.op == "placeholder")
    return NetworkGraph(traced, inputs, tuple(f"output_{i}" for i in range(len(output.args[0]))))


def laid_out(module, *examples):
    """Return the graph laid out, and what it costs."""
    graph = graph_of(module, *examples)
    result = LayOut()(graph)
    return graph, [refusal.reason for refusal in result.refusals]


def values_of(module, *inputs):
    """Return a module's outputs as a tuple."""
    with torch.no_grad():
        found = module(*inputs)
    return tuple(found) if isinstance(found, tuple | list) else (found,)


def error(found, wanted):
    """Return the largest difference, over the range of what is wanted."""
    worst = 0.0
    for pair in zip(found, wanted, strict=True):
        one, other = (np.asarray(values, dtype=np.float64) for values in pair)
        assert one.shape == other.shape
        worst = max(worst, np.abs(one - other).max() / max(np.ptp(other), 1e-3))
    return worst


def check_exact(module, *examples):
    """Lay a module out, compare it with itself at the example's batch size and another; return graph and costs."""
    module = module.double().eval()
    examples = tuple(example.double() for example in examples)
    graph, costs = laid_out(module, *examples)
    for inputs in (examples, tuple(torch.cat([e, e.flip(0) * 0.5]) for e in examples)):
        assert error(values_of(graph.module, *inputs), values_of(module, *inputs)) <= EXACT
    return graph, costs
