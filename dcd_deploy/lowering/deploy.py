"""From a captured network to its deploy graph for one target: the passes in their order, and what they say.

captured graph → drop dropout → fold norms → substitute → (lay out channels last) → wrap
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from dcd_deploy.errors import OptionError, UnknownNameError
from dcd_deploy.lowering.capture import Captured
from dcd_deploy.lowering.copying import copied
from dcd_deploy.lowering.graph import NetworkGraph
from dcd_deploy.lowering.passes.contract import Pass
from dcd_deploy.lowering.passes.drop_dropout import DropDropout
from dcd_deploy.lowering.passes.fold_norms import FoldNorms
from dcd_deploy.lowering.passes.lay_out import LayOut
from dcd_deploy.lowering.passes.substitute import AUTO, Choice, Substitute
from dcd_deploy.lowering.passes.wrap import Wrap
from dcd_deploy.lowering.places import Place
from dcd_deploy.lowering.target import Target

LAST = "channels_last"


class DeployNetwork(nn.Module):
    """The deploy graph as a module: inputs as the network takes them, its output a tensor, or a tuple of several.

    ``lowering`` says which lowering each dynamic layer got, by its path in the trained network; ``places`` what each
    module of this one is there; ``notes`` what its user should be told.
    """

    def __init__(
        self, graph: NetworkGraph, lowering: dict[str, str], places: dict[str, Place], notes: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.graph = graph.module
        self.inputs, self.outputs = graph.inputs, graph.outputs
        self.lowering, self.notes = lowering, notes
        self.places = {f"graph.{path}": place for path, place in places.items()}

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = self.graph(*inputs)
        return found[0] if len(found) == 1 else found


@dataclass(frozen=True)
class Plan:
    """The passes of one lowering, in their order."""

    substitute: Substitute
    wrap: Wrap
    passes: tuple[Pass, ...]


def plan(target: Target, choice: Choice = AUTO) -> Plan:
    """Return the passes for a target.

    Dropout goes first, since it may stand between a layer and its norm; norms before the choice, since a lowering is
    made of folded weights; the layout after it, since lowerings are written in their backend's own; names last.
    """
    substitute, wrap = Substitute(target, choice), Wrap()
    layout: tuple[Pass, ...] = (LayOut(),) if target.backend.name == LAST else ()
    return Plan(substitute, wrap, (DropDropout(), FoldNorms(), substitute, *layout, wrap))


def lower(captured: Captured, target: Target, choice: Choice = AUTO) -> DeployNetwork:
    """Return the deploy form of a captured network, in float64.

    Raises:
        UnknownNameError, OptionError: the choice is not one that the target has.
    """
    check_choice(choice, target)
    graph = copied(captured.graph)
    planned = plan(target, choice)
    notes = list(graph.notes)
    for one in planned.passes:
        notes += [f"{one.name}: '{refusal.path}': {refusal.reason}" for refusal in one(graph).refusals]
    return DeployNetwork(graph, planned.substitute.rows, planned.wrap.places, tuple(notes)).eval()


def check_choice(choice: Choice, target: Target) -> None:
    """Refuse a lowering that is neither "auto" nor one that the target can run.

    Raises:
        UnknownNameError: its backend has no such lowering.
        OptionError: it is one that this target cannot run.
    """
    known = tuple(target.backend.lowerings)
    if isinstance(choice, str) and choice not in (AUTO, *known):
        raise UnknownNameError("lowering", choice, (AUTO, *known))
    for name in set([choice] if isinstance(choice, str) else choice.values()) - {AUTO}:
        if name not in known:
            raise UnknownNameError("lowering", name, known)
        if name not in target.lowerings and not target.backend.lowerings[name].everywhere:
            able = " or ".join(target.backend.lowerings[name].only_for or ())
            raise OptionError(
                f"expected --target {able}, and a --batch number, for the lowering '{name}'; choose these, or another "
                "--lowering"
            )
