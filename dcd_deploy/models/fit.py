"""Whether a checkpoint's tensors are exactly those of a network, and if not, which differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dcd_deploy.errors import CheckpointMismatchError, WeightValueError
from dcd_deploy.models.checkpoint import Checkpoint
from dcd_deploy.models.infer import SpecOverrides, guess_specs
from dcd_deploy.models.registry import ARCHS, build
from dcd_deploy.models.spec import NetworkSpec

COUNTER = "num_batches_tracked"  # BatchNorm's own, which old checkpoints lack and evaluation does not use
SHOWN = 3


@dataclass(frozen=True)
class Mismatch:
    """The keys by which a checkpoint differs from a network; the shapes are (expected, found)."""

    spec: NetworkSpec
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    wrong_shape: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    matched: int

    @property
    def fits(self) -> bool:
        """Whether there is no difference."""
        return not (self.missing or self.unexpected or self.wrong_shape)

    @property
    def foreign(self) -> bool:
        """Whether there is not one key in common."""
        return not (self.matched or self.wrong_shape)

    def describe(self) -> str:
        """Return the differences in one line: how many of each, and the first of them."""
        shapes = [f"{key} (expected {want}, found {have})" for key, (want, have) in self.wrong_shape.items()]
        named = (("missing", self.missing), ("unexpected", self.unexpected), ("wrongly shaped", shapes))
        return "; ".join(f"{len(keys)} {what}: {_first(keys)}" for what, keys in named if keys)


def compare(state: Mapping[str, Tensor], spec: NetworkSpec) -> Mismatch:
    """Compare the tensors with those that the network of ``spec`` has."""
    expected = network_shapes(spec)
    found = {key: tuple(tensor.shape) for key, tensor in state.items()}
    both = expected.keys() & found.keys()
    return Mismatch(
        spec,
        missing=tuple(key for key in expected if key not in found and not key.endswith(COUNTER)),
        unexpected=tuple(key for key in found if key not in expected),
        wrong_shape={k: (s, found[k]) for k, s in expected.items() if k in both and found[k] != s},
        matched=sum(expected[key] == found[key] for key in both),
    )


def network_shapes(spec: NetworkSpec) -> dict[str, tuple[int, ...]]:
    """Return every key of the network's state_dict with its shape, without allocating weights."""
    with torch.device("meta"):
        network = build(spec)
    return {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}


def fit(checkpoint: Checkpoint, overrides: SpecOverrides | None = None, *, send_to_inspect: bool = True) -> NetworkSpec:
    """Return the spec of the network that the checkpoint's tensors are.

    The error's message sends its reader to ``inspect`` for all that differs, unless that is who asks.

    Raises:
        CheckpointMismatchError: they are none that is known (or not the one asked for); it carries the exact lists.
        UnknownNameError: the architecture asked for does not exist.
    """
    overrides = overrides or SpecOverrides()
    nearest = _nearest(checkpoint, overrides)
    if nearest.fits:
        return nearest.spec
    advice = _advice(checkpoint, overrides, send_to_inspect=send_to_inspect)
    raise CheckpointMismatchError(_explain(checkpoint, overrides, nearest) + advice, nearest)


def load_network(checkpoint: Checkpoint, spec: NetworkSpec) -> nn.Module:
    """Return the train-form network in float64 and eval mode, holding exactly the checkpoint's values.

    Raises:
        WeightValueError: a weight is NaN or infinite, or a variance is negative.
    """
    for key, tensor in checkpoint.state_dict.items():
        _check_values(checkpoint, key, tensor)
    network = build(spec).double()
    network.load_state_dict(checkpoint.state_dict, strict=True)
    return network.eval()


def _nearest(checkpoint: Checkpoint, overrides: SpecOverrides) -> Mismatch:
    shapes = {key: tuple(tensor.shape) for key, tensor in checkpoint.state_dict.items()}
    candidates = [compare(checkpoint.state_dict, spec) for spec in guess_specs(shapes, overrides)]
    return max(candidates, key=lambda mismatch: (mismatch.matched, -len(mismatch.missing)))


def _explain(checkpoint: Checkpoint, overrides: SpecOverrides, nearest: Mismatch) -> str:
    if overrides != SpecOverrides():
        return f"'{checkpoint.path}' does not fit {nearest.spec.describe()}: {nearest.describe()}"
    if nearest.foreign:
        return (
            f"'{checkpoint.path}' is of no known network: expected the keys of one of {', '.join(ARCHS)}, found "
            f"{_first(nearest.unexpected)} and no key of any of them"
        )
    head = f"'{checkpoint.path}' is no known network; the nearest is {nearest.spec.describe()}, but of its keys"
    return f"{head}: {nearest.describe()}"


def _advice(checkpoint: Checkpoint, overrides: SpecOverrides, *, send_to_inspect: bool) -> str:
    if overrides != SpecOverrides():
        found = _nearest(checkpoint, SpecOverrides())
        if found.fits:
            return f"; the tensors are those of {found.spec.describe()}"
        return "; inspect the file without these options"
    return f"; 'dcd-deploy inspect {checkpoint.path}' lists them all" if send_to_inspect else ""


def check_values(checkpoint: Checkpoint) -> None:
    """Refuse weights that are no numbers.

    Raises:
        WeightValueError: a weight is NaN or infinite, or a variance is negative.
    """
    for key, tensor in checkpoint.state_dict.items():
        _check_values(checkpoint, key, tensor)


def _check_values(checkpoint: Checkpoint, key: str, tensor: Tensor) -> None:
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise WeightValueError(
            f"expected finite weights in '{checkpoint.path}', found {bad} of {tensor.numel()} NaN or infinite in "
            f"'{key}'; use an earlier checkpoint of the training"
        )
    if key.endswith("running_var") and bool((tensor < 0).any()):
        raise WeightValueError(
            f"expected variances in '{key}' of '{checkpoint.path}', found a negative one; use an earlier checkpoint"
        )


def _first(keys: tuple[str, ...] | list[str]) -> str:
    return ", ".join(keys[:SHOWN]) + (", …" if len(keys) > SHOWN else "")
