"""The attention of a mixture: a chain of dense layers with heads behind it, in whatever modules they stand.

    C·pool → S → heads         each layer a Linear or a 1×1 convolution, in the order of registration

The functions between them are often in a forward: they are choices. So is a temperature, a number of that name.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from dcd_deploy.dynamic.adapters.bank import Bank
from dcd_deploy.dynamic.adapters.parts import activation_of, children_of, dense_sizes, inside, is_dense, is_norm
from dcd_deploy.dynamic.adapters.trunk import Trunk, pool_sizes, pools_of, read_trunk, takes_operand
from dcd_deploy.dynamic.attention import IDENTITY, Activation, Dense, Stage
from dcd_deploy.dynamic.operator import Pair

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
