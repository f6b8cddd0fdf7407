"""The exact folds: every eval-mode BatchNorm is v ↦ s ⊙ v + t, and goes into the weights beside it.

With (s1, t1) of bn1, (s2, t2) of bn2 and (s, t) of the BatchNorm after the layer,

    y = λ' ⊙ (W0' * x) + P' (Φ' (Q' x + t1) + t2) + t
    W0' = 2 s ⊙ W0      P' = s ⊙ P      Q' = s1 ⊙ Q      Φ' = diag(s2) Φ + I

The gate is 2·hardsigmoid. Its 2 goes into the weights behind it, so that a runtime's own hard sigmoid serves:

    a' = fc.0 g ⊙ hardsigmoid(fc.1.fc.0 fc.0 g)     a = 2 a'
    λ' = hardsigmoid(2 fc_scale a')                 λ = 2 λ'
    vec(Φ') = 2 (s2 ⊙ fc_phi) a' + vec(I)

These are identities (arXiv 2103.08756, section 3, with the BatchNorms of the published networks), not approximations.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dcd_deploy.models.dynamic import DynamicConv2d, DynamicLayer, DynamicLinear
from dcd_deploy.models.geometry import LayerGeometry

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d


@dataclass(frozen=True)
class FoldedLayer:
    """One dynamic layer after the folds, in the symbols of the module docstring; all float64.

    ``shift`` is the bias that Φ' carries through P' when t1 is taken out of it, P' (Φ' t1 + t2) + t = shift a' +
    shift_bias; ``bias`` is what is left when t1 stays inside: P' t2 + t.
    """

    geometry: LayerGeometry
    squeeze: Tensor  # (S, C·pool²)
    gate: Tensor  # (S, S)
    phi: Tensor  # (L·L, S)
    phi_bias: Tensor  # (L·L)
    scale: Tensor  # (K, S)
    static: Tensor  # (K, C, k, k)
    static_bias: Tensor | None  # (K), inside λ'; the classifier's alone
    query: Tensor  # (L, C)
    query_bias: Tensor  # (L)
    project: Tensor  # (K, L)
    bias: Tensor  # (K)
    shift: Tensor  # (K, S)
    shift_bias: Tensor  # (K)


def affine(norm: BatchNorm) -> tuple[Tensor, Tensor]:
    """Return the scale and shift of a BatchNorm in eval mode."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias.detach() - scale * norm.running_mean


def fold_static(conv: nn.Conv2d, norm: BatchNorm) -> nn.Conv2d:
    """Return ``conv`` with the BatchNorm behind it folded in."""
    scale, shift = affine(norm)
    return conv_of(conv.weight * scale[:, None, None, None], shift, conv.stride, conv.padding, conv.groups)


def fold_dynamic(layer: DynamicLayer, norm: BatchNorm | None = None) -> FoldedLayer:
    """Return ``layer`` with its own BatchNorms, its "+ q" and the BatchNorm behind it folded in."""
    g = layer.geometry
    static, static_bias, query, project = _weights(layer)
    s1, t1 = affine(layer.get_submodule("bn1"))  # type: ignore[arg-type]  # both kinds of layer have BatchNorm1d there
    s2, t2 = affine(layer.get_submodule("bn2"))  # type: ignore[arg-type]
    s, t = affine(norm) if norm is not None else (static.new_ones(g.K), static.new_zeros(g.K))
    project = s[:, None] * project
    phi = 2 * s2[:, None, None] * layer.fc_phi.weight.detach().view(g.L, g.L, g.S)
    return FoldedLayer(
        geometry=g,
        squeeze=weight_of(layer, "fc.0"),
        gate=weight_of(layer, "fc.1.fc.0"),
        phi=phi.reshape(g.L * g.L, g.S),
        phi_bias=torch.eye(g.L, dtype=phi.dtype).flatten(),
        scale=2 * layer.fc_scale.weight.detach(),
        static=2 * s[:, None, None, None] * static,
        static_bias=None if static_bias is None else 2 * s * static_bias,
        query=s1[:, None] * query,
        query_bias=t1,
        project=project,
        bias=project @ t2 + t,
        shift=project @ torch.einsum("ijs,j->is", phi, t1),
        shift_bias=project @ (t1 + t2) + t,
    )


def pooled_squeeze(folded: FoldedLayer, height: int, width: int) -> tuple[Tensor, tuple[int, int], tuple[int, int]]:
    """Return the squeeze's weights (S, C, rows, columns), and the kernel and stride of the average pool before it.

    Adaptive pooling to 2×2 on n×n is AveragePool(kernel ⌈n/2⌉, stride ⌊n/2⌋) for n ≥ 2; at n = 1 it makes copies of the
    one value, so the columns of the squeeze that would meet equal values are added up instead.
    """
    g = folded.geometry
    rows, columns = min(g.pool, height), min(g.pool, width)
    squeeze = folded.squeeze.view(g.S, g.C, g.pool, g.pool)
    squeeze = squeeze.reshape(g.S, g.C, rows, -1, columns, g.pool // columns).sum((3, 5))
    return squeeze, (-(-height // rows), -(-width // columns)), (height // rows, width // columns)


def _weights(layer: DynamicLayer) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """Return W0 (K, C, k, k), its bias, Q (L, C) and P (K, L) as they were trained."""
    if isinstance(layer, DynamicConv2d):
        parts = (layer.static, layer.query, layer.project)
        static_bias = None
    else:
        assert isinstance(layer, DynamicLinear)
        parts = (layer.cls, layer.cls_q, layer.cls_p)
        static_bias = layer.cls.bias.detach()
    static, query, project = (weight_of(part) for part in parts)
    kernel = static if static.dim() == 4 else static[:, :, None, None]
    return kernel, static_bias, query.flatten(1), project.flatten(1)


def weight_of(module: nn.Module, inside: str = "") -> Tensor:
    """Return the weight of the module called ``inside`` within ``module``."""
    return module.get_submodule(inside).get_parameter("weight").detach()


def conv_of(
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | str | tuple[int, ...] = 0,
    groups: int = 1,
) -> nn.Conv2d:
    """Return a frozen convolution with these weights (K, C/groups, k, k)."""
    outputs, inputs, *kernel = weight.shape
    with torch.device("meta"):  # no random weights that would be thrown away
        conv = nn.Conv2d(inputs * groups, outputs, tuple(kernel), stride, padding, groups=groups, bias=bias is not None)  # type: ignore[arg-type]  # sizes are pairs
    conv.weight = frozen(weight)
    conv.bias = None if bias is None else frozen(bias)
    return conv


def linear_of(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """Return a frozen linear layer with these weights (outputs, inputs)."""
    with torch.device("meta"):
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    linear.weight = frozen(weight)
    if bias is not None:
        linear.bias = frozen(bias)
    return linear


def frozen(tensor: Tensor) -> nn.Parameter:
    """Return a copy of ``tensor`` as a parameter that is not trained."""
    return nn.Parameter(tensor.detach().clone(), requires_grad=False)
