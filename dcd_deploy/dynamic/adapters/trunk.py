"""From the modules of an attention to its stages and heads, in whatever modules they stand.

    Linear, 1×1 convolution              Dense
    BatchNorm behind it                  folded into it
    activation behind it                 its activation, told by trying it
    a module around one square Linear    Gated: a ⊙ gate(W a + b), the squeeze's attention to itself
    pooling, dropout, flattening         nothing: what a pooling is, the sizes and the proof tell

A mixture's is a chain of dense layers with heads behind it, C·pool → S → heads, in the order of registration.

What the parts do not tell is left open, as alternatives: the functions between them, which are often in a forward, and
a temperature, a number of that name.
"""

from __future__ import annotations

import inspect
import itertools
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from dcd_deploy.dynamic.adapters.bank import Bank
from dcd_deploy.dynamic.adapters.parts import (
    activation_of,
    children_of,
    dense,
    dense_sizes,
    followed_by_norm,
    inside,
    is_activation,
    is_dense,
    is_norm,
    kind,
    norm_affine,
)
from dcd_deploy.dynamic.attention import IDENTITY, Activation, Dense, Gated, Stage
from dcd_deploy.dynamic.operator import OutsideError, Pair

GATES = (
    Activation("hardsigmoid", 2.0),  # relu6(v + 3) / 3
    Activation("hardsigmoid"),
    Activation("sigmoid"),
    Activation("sigmoid", 2.0),
)
OTHER_POOLS = (nn.AdaptiveMaxPool2d, nn.MaxPool2d, nn.AdaptiveMaxPool1d)
SKIPPED = (nn.Flatten, nn.Unflatten, nn.Dropout, nn.Dropout2d, nn.Identity, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


@dataclass
class Trunk:
    """The stages, and for each of them its possible activations, most likely first."""

    stages: list[Stage] = field(default_factory=list)
    activations: list[tuple[Activation, ...]] = field(default_factory=list)

    @property
    def inputs(self) -> int:
        """Values that the first stage sees."""
        return int(self.stages[0].weight.shape[1])

    @property
    def outputs(self) -> int:
        """Values that the last stage gives."""
        return int(self.stages[-1].weight.shape[0])

    def leave_open(self, *activations: Activation) -> None:
        """Let the stages that no module gives an activation have one of these, which then is in the forward."""
        self.activations = [activations if said == (IDENTITY,) else said for said in self.activations]

    def alternatives(self) -> Iterator[tuple[Stage, ...]]:
        """Yield the stages with every choice of activations, most likely first."""
        for chosen in itertools.product(*self.activations):
            yield tuple(replace(stage, activation=one) for stage, one in zip(self.stages, chosen, strict=True))


def read_trunk(parts: Iterable[tuple[str, nn.Module]]) -> Trunk:
    """Return the trunk that the named modules make, one behind the other.

    Raises:
        OutsideError: a part is nothing that an attention holds, or its sizes do not fit.
    """
    trunk = Trunk()
    for name, module in _in_sequence(parts):
        _add(trunk, name, module)
    return trunk


def pools_of(module: nn.Module) -> Iterator[Pair]:
    """Yield the sizes of the average poolings to a fixed size that the module holds."""
    for part in module.modules():
        if isinstance(part, nn.AdaptiveAvgPool2d):
            size = part.output_size
            rows, columns = size if isinstance(size, tuple) else (size, size)
            if rows is not None and columns is not None:
                yield rows, columns


def pool_sizes(values: int, held: Iterable[Pair]) -> list[Pair]:
    """Return the rows and columns that make so many values of a channel: those of a pooling that is held, a square."""
    side = math.isqrt(values)
    return list(dict.fromkeys(size for size in (*held, (side, side)) if size[0] * size[1] == values))


def takes_operand(module: nn.Module) -> bool:
    """Whether the module's forward takes two tensors."""
    try:
        inspect.signature(module.forward).bind(None, None)
    except (TypeError, ValueError):
        return False
    return True


def _in_sequence(parts: Iterable[tuple[str, nn.Module]]) -> Iterator[tuple[str, nn.Module]]:
    for name, module in parts:
        if isinstance(module, nn.Sequential):
            yield from _in_sequence((f"{name}.{key}", child) for key, child in module.named_children())
        else:
            yield name, module


def _add(trunk: Trunk, name: str, module: nn.Module) -> None:
    if is_dense(module):
        _check_inputs(trunk, name, module)
        trunk.stages.append(dense(module))
        trunk.activations.append((IDENTITY,))
    elif is_norm(module):
        scale, shift = norm_affine(name, module)
        last = trunk.stages[-1] if trunk.stages else None
        if not isinstance(last, Dense) or len(scale) != len(last.weight):
            raise OutsideError(f"{name} is {kind(module)} with no Linear layer of its size in front")
        trunk.stages[-1] = followed_by_norm(last, scale, shift)
    elif isinstance(module, OTHER_POOLS):
        raise OutsideError(f"{name} is {kind(module)}: the canonical attention pools by averages")
    elif isinstance(module, SKIPPED):
        return
    elif (activation := activation_of(module)) is not None:
        if activation != IDENTITY and trunk.stages:
            trunk.activations[-1] = (activation,)
    else:
        _add_gated(trunk, name, module)


def _check_inputs(trunk: Trunk, name: str, module: nn.Module) -> None:
    inputs = dense_sizes(module)[1]
    if trunk.stages and inputs != trunk.outputs:
        raise OutsideError(f"{name} takes {inputs} values, but what is in front of it gives {trunk.outputs}")


def _add_gated(trunk: Trunk, name: str, module: nn.Module) -> None:
    """Add a module that weighs its own input; the gate that it holds comes first."""
    parts = list(inside(module))
    layers = [part for _, part in parts if is_dense(part)]
    others = [f"{name}.{path}".rstrip(".") for path, part in parts if not (is_dense(part) or is_activation(part))]
    if not children_of(module) or len(layers) != 1 or others:
        raise OutsideError(
            f"{others[0] if others else name} is nothing that the canonical attention holds ({kind(module)})"
        )
    outputs, inputs = dense_sizes(layers[0])
    if outputs != inputs:
        raise OutsideError(f"{name} makes {outputs} values of {inputs}: it cannot weigh its own input")
    _check_inputs(trunk, name, layers[0])
    said = [one for _, part in parts if (one := activation_of(part)) is not None and one != IDENTITY]
    weights = dense(layers[0])
    trunk.stages.append(Gated(weights.weight, weights.bias, IDENTITY))
    trunk.activations.append(tuple(said) or GATES)


Parts = list[tuple[str, nn.Module]]
Source = tuple[Pair | None, bool]  # the size of the pooling, and whether the source is the layer's own input

HIDDEN = tuple(Activation(name) for name in ("relu", "silu", "relu6", "hardswish", "gelu", "identity"))
NORMALISING = ("softmax", "sigmoid", "hardsigmoid", "tanh")
TEMPERATURE = re.compile(r"temp|^tau$|^t$", re.IGNORECASE)


@dataclass(frozen=True)
class Routing:
    """The layers in front of the heads, and the heads by their paths, without activation; what the pooling may be."""

    hidden: Trunk
    heads: dict[str, Dense]
    sources: tuple[Source, ...]

    def stages(self) -> Iterator[tuple[Stage, ...]]:
        """Yield the stages with every choice of activations."""
        return self.hidden.alternatives()


def parts_of(module: nn.Module, bank: Bank) -> Parts:
    """Return the leaves that are no kernels, by path, in the order of registration."""
    children = {name: child for name, child in children_of(module).items() if name not in bank.without}
    return [(path, part) for name, child in children.items() for path, part in inside(child, name)]


def chained(module: nn.Module, bank: Bank) -> Routing | None:
    """Return the attention that the module holds, its last layer the only head; None where its layers are no chain.

    Raises:
        OutsideError: they are, but with a part between them that no attention has.
    """
    parts = parts_of(module, bank)
    layers = [path for path, part in parts if is_dense(part)]
    return _routing(module, bank, parts, layers[-1:])


def branched(module: nn.Module, bank: Bank) -> Routing | None:
    """Return the attention that the module holds, every layer behind the squeeze a head; None as ``chained`` does.

    Raises:
        OutsideError: as ``chained`` does.
    """
    parts = parts_of(module, bank)
    layers = [(path, dense_sizes(part)[1]) for path, part in parts if is_dense(part)]
    heads = [path for path, inputs in layers[1:] if inputs == layers[-1][1]]
    return _routing(module, bank, parts, heads)


def _routing(module: nn.Module, bank: Bank, parts: Parts, heads: list[str]) -> Routing | None:
    sizes = {path: dense_sizes(part) for path, part in parts if is_dense(part)}
    before = [size for path, size in sizes.items() if path not in heads]
    if not heads or any(behind[1] != front[0] for front, behind in itertools.pairwise(before)):
        return None
    if before and any(sizes[head][1] != before[-1][0] for head in heads):
        return None
    sources = _sources(module, next(iter(sizes.values()))[1], bank)
    return _read(parts, heads, sources) if sources else None


def _sources(module: nn.Module, values: int, bank: Bank) -> tuple[Source, ...]:
    held = list(pools_of(module))
    C = bank.geometry.C
    sources: list[Source] = []
    if values % C == 0:
        sources += [(size, True) for size in pool_sizes(values // C, held)]
    if takes_operand(module):
        sources += [(size, False) for size in dict.fromkeys([*held, (1, 1), None])]
    return tuple(sources)


def _read(parts: Parts, heads: list[str], sources: tuple[Source, ...]) -> Routing:
    said = [one for _, part in parts if (one := activation_of(part)) is not None]
    between = [one for one in said if one != IDENTITY and one.name not in NORMALISING]
    rows = _with_norms([(path, part) for path, part in parts if activation_of(part) is None])
    hidden = read_trunk(one for path, row in rows.items() if path not in heads for one in row)
    hidden.leave_open(*dict.fromkeys([*between, *HIDDEN]))
    found = {path: read_trunk(rows[path]).stages[0] for path in heads}
    return Routing(hidden, {path: one for path, one in found.items() if isinstance(one, Dense)}, sources)


def _with_norms(parts: Parts) -> dict[str, Parts]:
    """Return each part with the norms behind it: those of its size that come next, whatever is registered between."""
    rows: dict[str, Parts] = {}
    for path, part in parts:
        fitting = [row for row in rows.values() if is_dense(row[0][1]) and dense_sizes(row[0][1])[0] == size_of(part)]
        if is_norm(part) and fitting:
            fitting[-1].append((path, part))
        else:
            rows[path] = [(path, part)]
    return rows


def size_of(norm: nn.Module) -> int | None:
    """Return the channels of a norm."""
    size = getattr(norm, "num_features", getattr(norm, "num_channels", None))
    return size if isinstance(size, int) else None


def temperatures(module: nn.Module) -> list[float]:
    """Return the numbers that the module or a part of it calls a temperature, and 1."""
    numbers: list[float] = []
    for part in module.modules():
        for store in (vars(part), dict(part.named_parameters(recurse=False)), dict(part.named_buffers(recurse=False))):
            for name, value in store.items():
                if TEMPERATURE.search(name) and (number := _number(value)) is not None and number > 0:
                    numbers.append(number)
    return list(dict.fromkeys([*numbers, 1.0]))


def _number(value: object) -> float | None:
    if isinstance(value, Tensor) and value.numel() == 1:
        return float(value)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
