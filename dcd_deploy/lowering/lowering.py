"""What a lowering is: a dynamic convolution in one order of computation, for one backend, and what it costs.

A lowering is a class in a file of its own within a backend's package (``channels_first``, ``channels_last``), which is
all that it takes to add one: ``lowerings_in`` finds it. From its cost and a target's rates follows for which layers it
is used.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import abstractmethod
from dataclasses import astuple, dataclass
from types import ModuleType
from typing import ClassVar

from torch import nn

from dcd_deploy.dynamic.operator import DynamicOperator
from dcd_deploy.dynamic.shape import MapSize, OperatorShape, static_macs

ANY, KNOWN, ONE = "any", "known", "one"  # batch sizes


@dataclass(frozen=True)
class Cost:
    """What one dynamic layer costs at batch 1 in float32, its attention included.

    Constant and computed multiply-adds are by weights that are known in advance, which a runtime packs into its best
    layout, and by weights that are not. Map floats are those of whole feature maps, read or written by operators of
    their own, beyond the one pass of the convolution itself; layout floats those of maps that change between a
    runtime's plain and blocked layout; weight floats are streamed from memory once an inference; nodes are what is
    left of the graph after the runtime's own fusions.
    """

    constant_macs: int
    computed_macs: int
    map_floats: int
    layout_floats: int
    weight_floats: int
    nodes: int

    @property
    def macs(self) -> int:
        """All multiply-adds."""
        return self.constant_macs + self.computed_macs


@dataclass(frozen=True)
class Rates:
    """Nanoseconds for a multiply-add, a float and a node of each kind, on one target; fitted by scripts/fit_costs.py.

    Only their proportions matter to a choice. Fitted together, they share out what the features have in common; a rate
    of zero says that the measurements could not tell it from the others.
    """

    constant_mac: float
    computed_mac: float
    map_float: float
    layout_float: float
    weight_float: float
    node: float

    def microseconds(self, cost: Cost) -> float:
        """Return the estimate for a layer."""
        nanoseconds: float = sum(rate * count for rate, count in zip(astuple(self), astuple(cost), strict=True))
        return nanoseconds / 1e3


class Lowering(nn.Module):
    """A dynamic convolution on maps in its backend's layout, for any batch size unless ``batches`` says otherwise.

    It is made from an operator without gains (``folds.without_gains``) and a size. ``forward`` takes x, and the second
    operand where the attention reads one. A vector layer takes and gives (N, C), channels last (N, 1, 1, C).
    """

    name: ClassVar[str]
    only_for: ClassVar[tuple[str, ...] | None] = None  # targets whose rule may take it; None: all of its backend
    everywhere: ClassVar[bool] = True  # or those targets alone can run it, even where it is asked for by name
    batches: ClassVar[str] = ANY  # or at those that are KNOWN in advance, or at ONE
    activation: nn.Module | None  # the place for one that follows it (``passes.activate_within``), if there is one

    @abstractmethod
    def __init__(self, operator: DynamicOperator, size: MapSize) -> None:
        super().__init__()
        self.activation = None

    @classmethod
    def refusal(cls, shape: OperatorShape) -> str | None:
        """Return why layers of this shape cannot be computed so; None where they can."""
        del shape
        return None

    @classmethod
    def suits(cls, shape: OperatorShape) -> bool:
        """Whether the lowering is worth considering for layers of this shape, which it can compute."""
        return cls.refusal(shape) is None

    @classmethod
    @abstractmethod
    def cost(cls, shape: OperatorShape, size: MapSize, *, activated: bool) -> Cost:
        """Return what a layer costs, followed by an activation or not."""


@dataclass(frozen=True)
class Backend:
    """A layout of maps and the lowerings for it: "channels_first" (N, C, H, W) or "channels_last" (N, H, W, C)."""

    name: str
    lowerings: dict[str, type[Lowering]]


def static_cost(shape: OperatorShape, size: MapSize) -> Cost:
    """Return what the layer costs in the static twin, where its activation is fused."""
    return Cost(static_macs(shape, size.outputs), 0, 0, 0, shape.kernel_size, 1)


def lowerings_in(package: ModuleType) -> dict[str, type[Lowering]]:
    """Return the lowerings that the files of a package define, by name."""
    found: dict[str, type[Lowering]] = {}
    for entry in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{entry.name}")
        classes = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Lowering)]
        found |= {lowering.name: lowering for lowering in classes if lowering.__module__ == module.__name__}
    return found
