"""The dynamic convolutions of a network in groups of one shape: what is measured once serves the whole group."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import fx, nn

from dcd_deploy.dynamic.canonical import CanonicalLayer
from dcd_deploy.dynamic.operator import DynamicOperator
from dcd_deploy.dynamic.shape import MapSize, OperatorShape
from dcd_deploy.errors import ExportError
from dcd_deploy.lowering.capture import Captured
from dcd_deploy.lowering.deploy import prepared
from dcd_deploy.lowering.graph import NetworkGraph, op_name, shape
from dcd_deploy.lowering.lowering import Cost
from dcd_deploy.lowering.passes.substitute import sites
from dcd_deploy.lowering.targets import Target

NONE = "none"


@dataclass(frozen=True)
class LayerCase:
    """One shape of layer, at one map size.

    ``activation`` is what follows, in torch's words, or "none"; ``follows_sum`` says whether it reads a sum, or an
    input or layer without an activation. ``operand`` is the shape, without the batch, of what its attention reads where
    that is not its input. It is ``of_several`` where it gets several samples for one of the network's.
    """

    shape: OperatorShape
    size: MapSize
    activation: str
    follows_sum: bool = False
    operand: tuple[int, ...] = ()
    of_several: bool = False

    @property
    def activated(self) -> bool:
        """Whether an activation follows."""
        return self.activation != NONE

    @property
    def title(self) -> str:
        """Name it for people: "24→144 on 56×56", "3×3 64→128 on 56×56 by 2", "24→144 on 56×56, 4 kernels"."""
        g, size = self.shape.geometry, self.size
        kernel = f"{g.kernel[0]}×{g.kernel[1]} " if g.taps > 1 else ""
        groups = "" if g.groups == 1 else " depthwise" if g.depthwise else f" in {g.groups} groups"
        stride = "" if g.stride == (1, 1) else f" by {_sides(g.stride)}"
        dilation = "" if g.dilation == (1, 1) else f", dilated by {_sides(g.dilation)}"
        terms = f", {self.shape.kernels} kernels" if self.shape.kernels else ""
        samples = ", several samples at once" if self.of_several else ""
        return f"{kernel}{g.C}→{g.K}{groups} on {size.in_height}×{size.in_width}{stride}{dilation}{terms}{samples}"

    def costs(self, target: Target) -> dict[str, Cost]:
        """Return what it costs in each lowering that the target's rule chooses from."""
        return self._possible(target).costs(self.shape, self.size, activated=self.activated)

    def rule(self, target: Target) -> str:
        """Return the lowering that the target's rule takes."""
        return self._possible(target).choose(self.shape, self.size, activated=self.activated)

    def extras(self, target: Target) -> dict[str, float]:
        """Return what each of them costs more than the static layer, in the target's ``unit``s."""
        return self._possible(target).extras(self.shape, self.size, activated=self.activated)

    def _possible(self, target: Target) -> Target:
        """Return the target with the lowerings that can compute it.

        Raises:
            ExportError: there is none.
        """
        if not self.of_several:
            return target
        several = target.for_several()
        if not several.costs(self.shape, self.size, activated=self.activated):
            raise ExportError(
                expected=f"an order of computation for {self.title} that serves in {target.format}",
                found="none",
                advice="let forward take one sample at a time, or take another format",
            )
        return several


@dataclass(frozen=True)
class LayerGroup:
    """The calls of one shape: the paths of their layers, and the operator of the first."""

    case: LayerCase
    layers: tuple[str, ...]
    operator: DynamicOperator


def groups_of(captured: Captured) -> tuple[LayerGroup, ...]:
    """Return the shapes of a network's dynamic convolutions, each with its layers, in their order.

    Layers of vectors, which are no convolutions, are left to the target's rule.
    """
    graph = prepared(captured)
    found: dict[LayerCase, LayerGroup] = {}
    for node, site in sites(graph):
        if site.shape.geometry.vector:
            continue
        case = LayerCase(
            site.shape, site.size, site.activation, _follows_sum(graph, node), _operand(node), site.of_several
        )
        layer = graph.submodule(node)
        assert isinstance(layer, CanonicalLayer)
        group = found.get(case, LayerGroup(case, (), layer.operator))
        found[case] = replace(group, layers=(*group.layers, site.path))
    return tuple(found.values())


def _follows_sum(graph: NetworkGraph, node: fx.Node) -> bool:
    source = node.args[0]
    assert isinstance(source, fx.Node)
    if source.op == "placeholder" or isinstance(graph.submodule(source), CanonicalLayer | nn.Conv2d):
        return True
    return source.op in ("call_function", "call_method") and op_name(source) == "add"


def _operand(node: fx.Node) -> tuple[int, ...]:
    source = node.args[1] if len(node.args) > 1 else None
    found = shape(source) if isinstance(source, fx.Node) else None
    return found[1:] if found else ()


def _sides(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}×{pair[1]}"
