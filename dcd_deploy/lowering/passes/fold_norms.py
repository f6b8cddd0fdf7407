"""Fold each BatchNorm into the layer before it: v ↦ s ⊙ v + t goes into its weights and its bias.

    conv(W, b) ─ norm(s, t)   →   conv(s ⊙ W, s ⊙ b + t)

The layer keeps its stride, padding, dilation, groups and padding mode. What a norm stands behind must be read by the
norm alone. Of a transposed convolution the outputs are the weights' second axis, in each group.
"""

from __future__ import annotations

import copy
from typing import ClassVar

import torch
from torch import Tensor, fx, nn

from dcd_deploy.dynamic.canonical import CanonicalLayer
from dcd_deploy.dynamic.folds import affine, with_norm
from dcd_deploy.lowering.graph import ORIGIN, NetworkGraph
from dcd_deploy.lowering.layers import frozen
from dcd_deploy.lowering.passes.contract import Pass, PassRefusal, PassResult

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
Foldable = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.Linear | CanonicalLayer


class FoldNorms(Pass):
    """Fold every norm that can be folded; what stays is refused with its reason."""

    name: ClassVar[str] = "fold norms"
    reason: ClassVar[str] = "a norm of constants is part of the layer before it, and no operator of its own"

    def apply(self, graph: NetworkGraph) -> PassResult:
        result = PassResult()
        for node in list(graph.nodes):
            norm = graph.submodule(node)
            if not isinstance(norm, NORMS):
                continue
            if reason := _why_not(graph, node, norm):
                result.refusals.append(PassRefusal(_path(node), reason))
                continue
            _fold(graph, node, norm)
            result.changed += 1
        return result

    def ensures(self, graph: NetworkGraph) -> str | None:
        for node in graph.nodes:
            norm = graph.submodule(node)
            if isinstance(norm, NORMS) and _why_not(graph, node, norm) is None:
                return f"no norm that can be folded is left, but '{node.target}' is"
        return None


def _path(node: fx.Node) -> str:
    """Return the path of a layer in the trained network, where it may be a function (timm's BatchNormAct2d)."""
    return str(node.meta.get(ORIGIN, node.target))


def _why_not(graph: NetworkGraph, node: fx.Node, norm: nn.Module) -> str | None:
    """Return why a norm stays; None where it can be folded."""
    if not isinstance(norm.running_mean, Tensor) or norm.training:
        return "it has no running statistics: it depends on the data"
    before = node.args[0]
    assert isinstance(before, fx.Node)
    layer = graph.submodule(before)
    if not isinstance(layer, Foldable):
        return "there is no convolution or linear layer before it"
    if len(before.users) > 1:
        return f"'{_path(before)}' before it is read by others too"
    if isinstance(layer, nn.Linear) and len(before.meta.get("shape") or (0, 0)) != 2:
        return f"its channels are not the last axis of '{_path(before)}'"
    return None


def _fold(graph: NetworkGraph, node: fx.Node, norm: nn.Module) -> None:
    before = node.args[0]
    assert isinstance(before, fx.Node)
    layer = graph.submodule(before)
    folded = folded_layer(layer, *affine(norm))  # type: ignore[arg-type]  # checked by ``_why_not``
    if _shared(graph, before):
        before.meta.setdefault(ORIGIN, str(before.target))
        before.target = graph.add_module(f"{before.target}_folded", folded)
    else:
        graph.replace_module(before, folded)
    node.replace_all_uses_with(before)
    graph.module.graph.erase_node(node)


def _shared(graph: NetworkGraph, node: fx.Node) -> bool:
    """Whether a layer is called more than once."""
    return sum(other.op == "call_module" and other.target == node.target for other in graph.nodes) > 1


def folded_layer(layer: Foldable, scale: Tensor, shift: Tensor) -> nn.Module:
    """Return the layer with v ↦ scale ⊙ v + shift (outputs) behind it folded in."""
    if isinstance(layer, CanonicalLayer):
        return CanonicalLayer(with_norm(layer.operator, scale, shift))
    made = copy.copy(layer)
    made._parameters = dict(layer._parameters)  # noqa: SLF001 - the layer itself may be shared, and stays as it is
    weight = layer.weight.detach()
    bias = shift if layer.bias is None else scale * layer.bias.detach() + shift
    made.weight = frozen(weight * _along_outputs(layer, scale))
    made.bias = frozen(bias)
    return made


def _along_outputs(layer: nn.Module, scale: Tensor) -> Tensor:
    """Return the scale in a shape that meets the weights of the layer's outputs."""
    if isinstance(layer, nn.Linear):
        return scale[:, None]
    weight = layer.get_parameter("weight")
    trailing = (1,) * (weight.dim() - 2)
    if isinstance(layer, nn.ConvTranspose2d):  # (C, K/groups, kh, kw): C goes over the groups
        groups, inputs = layer.groups, weight.shape[0]
        per_group = scale.view(groups, 1, -1).expand(-1, inputs // groups, -1)
        return per_group.reshape(inputs, -1, *trailing)
    return torch.reshape(scale, (-1, 1, *trailing))
