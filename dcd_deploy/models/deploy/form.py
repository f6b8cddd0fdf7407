"""What a form is: one dynamic convolution in one order of computation, spelled for one runtime, and what it costs.

A form is a class in a file of its own within a spelling's package (``channels_first``, ``channels_last``), which is all
that it takes to add one: ``forms_in`` finds it. From its cost and a target's rates follows for which layers it is used.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import abstractmethod
from dataclasses import astuple, dataclass
from types import ModuleType
from typing import ClassVar

from torch import nn

from dcd_deploy.models.deploy.fold import FoldedLayer
from dcd_deploy.models.geometry import LayerGeometry
from dcd_deploy.models.sizes import MapSize


@dataclass(frozen=True)
class FormCost:
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

    @property
    def bytes_moved(self) -> int:
        """Bytes of all maps and weights that are moved."""
        return 4 * (self.map_floats + self.layout_floats + self.weight_floats)


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

    def microseconds(self, cost: FormCost) -> float:
        """Return the estimate for a layer."""
        nanoseconds: float = sum(rate * count for rate, count in zip(astuple(self), astuple(cost), strict=True))
        return nanoseconds / 1e3


class Form(nn.Module):
    """A dynamic convolution from a map to a map, for any batch size; made from a ``FoldedLayer`` and a ``MapSize``."""

    name: ClassVar[str]
    # The targets whose rule may take the form, by name; None: all that its spelling is for.
    only_for: ClassVar[tuple[str, ...] | None] = None
    everywhere: ClassVar[bool] = True  # or those targets alone can run it, even where it is asked for by name
    free_batch: ClassVar[bool] = True  # or only at batch sizes that are known in advance

    @abstractmethod
    def __init__(self, folded: FoldedLayer, size: MapSize) -> None:
        super().__init__()

    @classmethod
    def suits(cls, geometry: LayerGeometry) -> bool:
        """Whether the form is worth considering for layers of these sizes; it computes them right in any case."""
        del geometry
        return True

    @classmethod
    @abstractmethod
    def cost(cls, geometry: LayerGeometry, size: MapSize, *, activated: bool) -> FormCost:
        """Return what a layer costs in this form, followed by an activation or not."""


def attention_macs(g: LayerGeometry) -> int:
    """Return the multiply-adds from the pooled map to Φ and λ; each is by a weight of its own, so weights too."""
    return g.squeezed_from * g.S + g.S**2 + g.S * (g.L**2 + g.K)


def static_macs(g: LayerGeometry, size: MapSize) -> int:
    """Return the multiply-adds of the convolution by W0 alone."""
    return g.kernel**2 * g.K * g.C * size.outputs


def static_cost(g: LayerGeometry, size: MapSize) -> FormCost:
    """Return what the layer costs in the static twin, where its activation is fused."""
    return FormCost(static_macs(g, size), 0, 0, 0, g.kernel**2 * g.K * g.C, 1)


def forms_in(package: ModuleType) -> dict[str, type[Form]]:
    """Return the forms that the files of a package define, by name."""
    found: dict[str, type[Form]] = {}
    for entry in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{entry.name}")
        classes = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Form)]
        found |= {form.name: form for form in classes if form.__module__ == module.__name__}
    return found
