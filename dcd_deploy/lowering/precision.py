"""A captured graph in single precision: it was traced in float64, and names that precision where the module named one.

    x.double(), x.to(torch.float64)     →  x.float(), x.to(torch.float32)
    x.half(), x.to(torch.bfloat16)      →  x.float(), x.to(torch.float32)

Where the graph is compared with the module it runs in float64 all the same (``dynamic.float64``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

CASTS = ("double", "half", "bfloat16")
OTHERS = (torch.float64, torch.float16, torch.bfloat16)


def name_single(made: fx.GraphModule) -> None:
    """Let the nodes of a graph name float32 where they name another precision, in place."""
    for node in made.graph.nodes:
        node.args = _single(node.args)
        node.kwargs = _single(node.kwargs)
        if node.op == "call_method" and node.target in CASTS:
            node.target = "float"
    made.recompile()


def _single(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _single(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_single(one) for one in value)
    return torch.float32 if isinstance(value, torch.dtype) and value in OTHERS else value
