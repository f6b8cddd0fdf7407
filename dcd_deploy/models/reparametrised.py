"""Weights that torch keeps in parts while it trains, put together as evaluation does: exactly, in float64.

pruning          weight_orig, weight_mask                  weight_orig ⊙ weight_mask
weight norm      weight_g, weight_v                        g v / ‖v‖, the norm of each output's weights
                 parametrizations.weight.original0, …1     likewise
spectral norm    weight_orig, weight_u, weight_v           weight_orig / (uᵀ W v)
                 parametrizations.weight.original, 0._u, 0._v
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from dcd_deploy.models.checkpoint import Checkpoint

Parts = Mapping[str, Tensor]
NEW = re.compile(r"(.*\.)?parametrizations\.(\w+)\.(original[01]?|0\._[uv])")
OLD = re.compile(r"(.*\.)?(\w+?)_(orig|mask|g|u|v)")


def _masked(parts: Parts) -> Tensor:
    return torch.mul(parts["orig"], parts["mask"])


def _weight_norm(gain: Tensor, direction: Tensor) -> Tensor:
    direction = direction.double()
    other = tuple(range(1, direction.dim())) if gain.dim() == direction.dim() and gain.shape[0] > 1 else None
    norm = torch.linalg.vector_norm(direction, dim=other, keepdim=other is not None)
    return torch.mul(direction, gain.double() / norm)


def _spectral_norm(weight: Tensor, u: Tensor, v: Tensor) -> Tensor:
    weight = weight.double()
    return torch.div(weight, torch.dot(u.double(), weight.flatten(1) @ v.double()))


WAYS: dict[frozenset[str], tuple[str, Callable[[Parts], Tensor]]] = {
    frozenset(("orig", "mask")): ("a mask of torch's pruning", _masked),
    frozenset(("g", "v")): ("weight norm", lambda p: _weight_norm(p["g"], p["v"])),
    frozenset(("original0", "original1")): ("weight norm", lambda p: _weight_norm(p["original0"], p["original1"])),
    frozenset(("orig", "u", "v")): ("spectral norm", lambda p: _spectral_norm(p["orig"], p["u"], p["v"])),
    frozenset(("original", "0._u", "0._v")): (
        "spectral norm",
        lambda p: _spectral_norm(p["original"], p["0._u"], p["0._v"]),
    ),
}


def put_together(checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint with every weight in one piece, and a note for each way in which some were in parts."""
    groups: dict[str, dict[str, str]] = defaultdict(dict)  # weight → part → key
    for key in checkpoint.state_dict:
        if found := NEW.fullmatch(key) or OLD.fullmatch(key):
            groups[f"{found[1] or ''}{found[2]}"][found[3]] = key
    state, counts = dict(checkpoint.state_dict), Counter[str]()
    for name, keys in groups.items():
        what, whole = WAYS.get(frozenset(keys), ("", None))
        parts = {part: state[key] for part, key in keys.items()}
        if whole is None or name in state or not _fit(parts):
            continue
        for key in keys.values():
            del state[key]
        state[name] = whole(parts)
        counts[what] += 1
    return checkpoint.with_state(state, *(f"{what} is folded into {n} weights" for what, n in counts.items()))


def _fit(parts: Parts) -> bool:
    """Whether the shapes of the parts belong together."""
    if "mask" in parts:
        return parts["orig"].shape == parts["mask"].shape
    if vectors := [part for name, part in parts.items() if name[-1] in "uv" and len(parts) == 3]:
        weight = parts.get("orig", parts.get("original"))
        sizes = {vector.numel() for vector in vectors if vector.dim() == 1}
        return weight is not None and weight.dim() > 1 and sizes == {weight.shape[0], weight[0].numel()}
    gain, direction = (parts[name] for name in sorted(parts))
    alone = gain.numel() == 1
    return direction.dim() > 1 and (alone or gain.numel() == gain.shape[0] == direction.shape[0])
