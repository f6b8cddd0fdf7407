"""Recurrent layers that begin with nothing: torch makes their zeros while it runs, and XNNPACK makes no constants."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from dcd_deploy.lowering.graph import NetworkGraph, shape
from dcd_deploy.lowering.layers import frozen

SEQUENCES = 3  # dimensions of a batch of them


class FromZeros(nn.Module):
    """A recurrent layer of a batch of sequences, with the state that it begins with."""

    def __init__(self, layer: nn.GRU | nn.LSTM) -> None:
        super().__init__()
        self.layer = layer
        count = layer.num_layers * (2 if layer.bidirectional else 1)
        sizes = (layer.proj_size or layer.hidden_size, layer.hidden_size)[: 2 if isinstance(layer, nn.LSTM) else 1]
        self.states = nn.ParameterList(frozen(torch.zeros(count, 1, size, dtype=torch.float64)) for size in sizes)

    def forward(self, x: Tensor) -> Any:
        count = x.shape[0 if self.layer.batch_first else 1]
        first = [state if count == 1 else state.expand(-1, count, -1).contiguous() for state in self.states]
        return self.layer(x, tuple(first) if len(first) > 1 else first[0])


def from_zeros(graph: NetworkGraph, node: fx.Node) -> FromZeros | None:
    """Return what a layer becomes that is given a batch of sequences, and no state."""
    layer, operands = graph.submodule(node), node.all_input_nodes
    alone = len(operands) == 1 and len(shape(operands[0]) or ()) == SEQUENCES
    return FromZeros(layer) if isinstance(layer, nn.GRU | nn.LSTM) and alone else None
