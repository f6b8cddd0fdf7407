"""Whether a checkpoint's tensors are exactly those of a network, and if not, which differ."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from dcd_deploy.errors import CheckpointMismatchError, WeightValueError, shown
from dcd_deploy.models import kinds
from dcd_deploy.models.checkpoint import Checkpoint
from dcd_deploy.models.dynamic import DynamicConv2d, DynamicLayer
from dcd_deploy.models.geometry import NORMS
from dcd_deploy.models.infer import Shapes, SpecOverrides
from dcd_deploy.models.recognise import recognised
from dcd_deploy.models.registry import ARCHS, FAMILIES, Family, family_of
from dcd_deploy.models.sizes import skeleton
from dcd_deploy.models.spec import MOST_CHANNELS, NO_HEAD, LayerSizes, NetworkSpec
from dcd_deploy.models.untold import Untold, assumed
from dcd_deploy.models.user_network import COUNTER

SHOWN = 3


@dataclass(frozen=True)
class Mismatch:
    """The keys by which a checkpoint differs from a network; the shapes are (expected, found).

    ``left_out`` are keys that were not compared, since no part of the network was seen to use them.
    """

    spec: NetworkSpec
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    wrong_shape: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    matched: int
    dynamic_layers: str = ""
    left_out: tuple[str, ...] = ()

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
        shapes = [f"{shown(key)} (expected {want}, found {have})" for key, (want, have) in self.wrong_shape.items()]
        named = (
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("wrongly shaped", shapes),
            ("left out as unused", self.left_out),
        )
        return "; ".join(f"{len(keys)} {what}: {_first(keys)}" for what, keys in named if keys)


@dataclass(frozen=True)
class Fit:
    """The network that a checkpoint holds; ``checkpoint`` has its keys as that network does, and says what was done.

    ``assumed`` says in plain sentences what no tensor tells and nobody said, and was taken as published.
    """

    spec: NetworkSpec
    checkpoint: Checkpoint
    assumed: tuple[str, ...]


def compare(state: Mapping[str, Tensor], spec: NetworkSpec) -> Mismatch:
    """Compare the tensors with those that the network of ``spec`` has."""
    return _compare(_shapes(state), spec, skeleton(spec))


def fit(checkpoint: Checkpoint, overrides: SpecOverrides | None = None, *, send_to_inspect: bool = True) -> NetworkSpec:
    """Return the spec of the network that the checkpoint's tensors are.

    Raises:
        CheckpointMismatchError, UnknownNameError, OptionError: as ``fit_checkpoint``.
    """
    return fit_checkpoint(checkpoint, overrides, send_to_inspect=send_to_inspect).spec


def fit_checkpoint(
    checkpoint: Checkpoint,
    overrides: SpecOverrides | None = None,
    *,
    made_as: NetworkSpec | None = None,
    send_to_inspect: bool = True,
) -> Fit:
    """Return the network that the checkpoint's tensors are, and the tensors under its names.

    What no tensor tells and ``overrides`` leave open is as in ``made_as``, the network of a file that was exported.
    The error's message sends its reader to ``inspect`` for all that differs, unless that is who asks.

    Raises:
        CheckpointMismatchError: they are none that is known (or not the one asked for); it carries the exact lists.
        UnknownNameError: the architecture asked for does not exist.
        OptionError: there are several networks, or strides are those of another family.
    """
    overrides = overrides or SpecOverrides()
    named, family = recognised(checkpoint)
    nearest = replace(_nearest(_shapes(named.state_dict), overrides, family), left_out=named.left_out)
    if not nearest.fits:
        advice = _advice(named, overrides, family, nearest, send_to_inspect=send_to_inspect)
        raise CheckpointMismatchError(_explain(named, overrides, nearest) + advice, nearest)
    return _fitted(named, nearest.spec, overrides.untold, made_as)


def _fitted(named: Checkpoint, spec: NetworkSpec, said: Untold, made_as: NetworkSpec | None) -> Fit:
    family = family_of(spec.arch)
    usual = family.usual_strides(spec)
    alike = made_as is not None and family_of(made_as.arch) is family
    spec = (said.over(made_as) if made_as is not None and alike else said).applied(spec, usual)
    if spec.head_kind == NO_HEAD:
        features = f"no classifier: the output is the {spec.num_classes} pooled features"
        named = named.with_state(named.state_dict, features)
    return Fit(spec, named, assumed(spec, said, usual, has_pool=family.has_stem_pool))


def load_network(checkpoint: Checkpoint, spec: NetworkSpec) -> nn.Module:
    """Return the train-form network in float64 and eval mode, holding exactly the checkpoint's values.

    Raises:
        WeightValueError: a weight is NaN or infinite, or a variance is negative.
    """
    named, _ = recognised(checkpoint)
    for key, tensor in named.state_dict.items():
        _check_values(named, key, tensor)
    network = skeleton(spec)
    counters = {key: torch.zeros((), dtype=torch.int64) for key in network.state_dict() if key.endswith(COUNTER)}
    state = counters | {key: tensor.detach().clone() for key, tensor in named.state_dict.items()}
    network.load_state_dict(state, strict=True, assign=True)
    return network.double().eval()


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def _compare(found: Shapes, spec: NetworkSpec, network: nn.Module) -> Mismatch:
    expected = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    both = expected.keys() & found.keys()
    return Mismatch(
        spec,
        missing=tuple(key for key in expected if key not in found and not key.endswith(COUNTER)),
        unexpected=tuple(key for key in found if key not in expected),
        wrong_shape={k: (s, found[k]) for k, s in expected.items() if k in both and found[k] != s},
        matched=sum(expected[key] == found[key] for key in both),
        dynamic_layers=kinds.described(found),
    )


def _nearest(shapes: Shapes, overrides: SpecOverrides, family: Family | None) -> Mismatch:
    """Return the best guess of each family that can be meant, compared: the one with most keys in common."""
    families = [family_of(overrides.arch)] if overrides.arch else [family] if family else FAMILIES
    found = [_compared(each.guess(overrides.arch, shapes, overrides), shapes) for each in families]
    return max(found, key=_likeness)


def _likeness(mismatch: Mismatch) -> tuple[int, int]:
    return mismatch.matched, -len(mismatch.missing)


def _compared(spec: NetworkSpec, shapes: Shapes) -> Mismatch:
    """Return the comparison with a network; widths of its own count only where all tensors have them."""
    found = _with_own_layers(spec, shapes)
    if found.fits or not spec.channels:
        return found
    return max(found, _with_own_layers(replace(spec, channels=()), shapes), key=_likeness)


def _with_own_layers(spec: NetworkSpec, shapes: Shapes) -> Mismatch:
    """Return the comparison with a network; its dynamic layers get the sizes of the tensors where that helps."""
    network = skeleton(spec)
    by_rule = _compare(shapes, spec, network)
    if by_rule.fits or not (own := _own_sizes(network, shapes)):
        return by_rule
    spec = replace(spec, layers=own)
    by_tensors = _compare(shapes, spec, skeleton(spec))
    return by_tensors if by_tensors.fits else by_rule


def _own_sizes(network: nn.Module, shapes: Shapes) -> tuple[LayerSizes, ...]:
    """Return the dynamic layers whose tensors have other sizes than the family's rule gives."""
    layers = [(name, module) for name, module in network.named_modules() if isinstance(module, DynamicLayer)]
    found = [(module, _sizes_of(name, module, shapes)) for name, module in layers]
    return tuple(own for module, own in found if own and own != _sizes_by_rule(own.name, module))


def _sizes_by_rule(name: str, layer: DynamicLayer) -> LayerSizes:
    g = layer.geometry
    return LayerSizes(name, g.L, g.S, g.pool, g.biases, g.norms)


def _sizes_of(name: str, layer: DynamicLayer, shapes: Shapes) -> LayerSizes | None:
    """Return L, S, pool, biases and norms as the tensors have them; None where they do not belong together."""
    phi, squeeze = shapes.get(f"{name}.fc_phi.weight", ()), shapes.get(f"{name}.fc.0.weight", ())
    if len(phi) != 2 or len(squeeze) != 2:
        return None
    latent, cells = math.isqrt(phi[0]), squeeze[1] // layer.geometry.C
    pool = math.isqrt(cells)
    if latent < 1 or squeeze[0] < 1 or pool < 1 or max(latent, squeeze[0]) > MOST_CHANNELS:
        return None
    parts = ["fc.0", "fc.1.fc.0", "fc_phi", "fc_scale"]
    parts += [layer.STATIC, layer.QUERY, layer.PROJECT] if isinstance(layer, DynamicConv2d) else ["cls_q", "cls_p"]
    biases = tuple(part for part in parts if f"{name}.{part}.bias" in shapes)
    norms = tuple(norm for norm in NORMS if f"{name}.{norm}.weight" in shapes)
    return LayerSizes(name, latent, squeeze[0], pool, biases, norms)


def _explain(checkpoint: Checkpoint, overrides: SpecOverrides, nearest: Mismatch) -> str:
    if not overrides.says_nothing:
        return f"'{checkpoint.path}' does not fit {nearest.spec.describe()}: {nearest.describe()}"
    holds = f"it holds {nearest.dynamic_layers}"
    if nearest.foreign:
        return (
            f"'{checkpoint.path}' is of no known network ({holds}): expected the keys of one of {', '.join(ARCHS)}, "
            f"found {_first(nearest.unexpected)} and no key of any of them"
        )
    head = (
        f"'{checkpoint.path}' is no known network ({holds}); the nearest is {nearest.spec.describe()}, but of its keys"
    )
    return f"{head}: {nearest.describe()}"


def _advice(
    checkpoint: Checkpoint, overrides: SpecOverrides, family: Family | None, nearest: Mismatch, *, send_to_inspect: bool
) -> str:
    if not overrides.says_nothing:
        found = _nearest(_shapes(checkpoint.state_dict), SpecOverrides(), family)
        if found.fits:
            return f"; the tensors are those of {found.spec.describe()}"
        return "; inspect the file without these options"
    ways = []
    if nearest.unexpected and not nearest.missing and not nearest.wrong_shape:
        kept = checkpoint.state_dict.keys() - set(nearest.unexpected)
        drops = dict.fromkeys(_beginning(key, kept) for key in nearest.unexpected)
        options = " ".join(f"`drop` {shown(drop)}" for drop in list(drops)[:SHOWN])
        ways.append(f"if the network works without them leave them out with {options}")
    if send_to_inspect:
        ways.append(f"'dcd-deploy inspect {checkpoint.path}' lists them all")
    ways.append(
        "for a network of your own write a Python function that returns it and pass it with `network` FILE.py:FUNCTION"
    )
    return "; " + "; ".join(ways)


def _beginning(key: str, kept: Iterable[str]) -> str:
    """Return the first parts of a key with which none of the kept ones begins."""
    parts = key.split(".")
    beginnings = (".".join(parts[:count]) + "." for count in range(1, len(parts)))
    return next((each for each in beginnings if not any(other.startswith(each) for other in kept)), key)


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
            expected=f"finite weights in '{checkpoint.path}'",
            found=f"{bad} of {tensor.numel()} NaN or infinite in '{key}'",
            advice="use an earlier checkpoint of the training",
        )
    if key.endswith("running_var") and bool((tensor < 0).any()):
        raise WeightValueError(
            expected=f"variances in '{key}' of '{checkpoint.path}'",
            found="a negative one",
            advice="use an earlier checkpoint",
        )


def _first(keys: tuple[str, ...] | list[str]) -> str:
    return ", ".join(shown(key, 160) for key in keys[:SHOWN]) + (", …" if len(keys) > SHOWN else "")
