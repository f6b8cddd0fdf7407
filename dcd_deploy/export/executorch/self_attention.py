"""Attention between places, of torch's own operator for it: products of batches of matrices, a softmax between them."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,  # noqa: FBT001, FBT002 - torch's order
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return softmax(q kᵀ · scale + mask) v of (N, H, L, E), (N, H, S, E) and (N, H, S, V).

    The softmax is of three dimensions: of four, XNNPACK takes the last one of what lies there.
    """
    mask = attn_mask
    if mask is not None and not mask.dtype.is_floating_point:  # it says which places are seen
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, -math.inf)
    if mask is not attn_mask or is_causal or enable_gqa or dropout_p or query.shape[:-2] != value.shape[:-2]:
        math_of = torch.ops.aten._scaled_dot_product_attention_math  # noqa: SLF001 - what torch itself makes of it
        found: Tensor = math_of(query, key, value, mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)[0]
        return found
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    q, k, v = (each.reshape(-1, *each.shape[-2:]) for each in (query * factor, key, value))
    scores = torch.bmm(q, k.transpose(1, 2))
    if mask is not None:
        scores = (scores.reshape(*query.shape[:-1], -1) + mask).reshape(scores.shape)
    return torch.bmm(torch.softmax(scores, 2), v).reshape(*query.shape[:-1], value.shape[-1])
