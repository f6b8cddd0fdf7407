"""From a captured network to its deploy graph for one target: the passes in their order, and what they say.

    captured graph → drop dropout → fold norms → pool by windows → (convolve by products) → spell out → substitute →
        (activate within, or fold by convolution → lay out channels last) → wrap

``prepared`` is the graph as the choice of lowerings sees it: dropout gone, norms folded into the layers before them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from torch import fx

from dcd_deploy.errors import OptionError, UnknownNameError
from dcd_deploy.lowering.capture import Captured
from dcd_deploy.lowering.graph import NetworkGraph, copied
from dcd_deploy.lowering.lowering import KNOWN, ONE, Lowering
from dcd_deploy.lowering.passes.activate_within import ActivateWithin
from dcd_deploy.lowering.passes.contract import Pass
from dcd_deploy.lowering.passes.convolve_by_products import ConvolveByProducts
from dcd_deploy.lowering.passes.drop_dropout import DropDropout
from dcd_deploy.lowering.passes.fold_by_convolution import FoldByConvolution
from dcd_deploy.lowering.passes.fold_norms import FoldNorms
from dcd_deploy.lowering.passes.lay_out import LayOut
from dcd_deploy.lowering.passes.pool_by_windows import PoolByWindows
from dcd_deploy.lowering.passes.sizes_as_numbers import SizesAsNumbers
from dcd_deploy.lowering.passes.spell_for_xnnpack import SpellForXnnpack
from dcd_deploy.lowering.passes.spell_out import SpellOut
from dcd_deploy.lowering.passes.substitute import AUTO, Choice, Substitute
from dcd_deploy.lowering.passes.wrap import Wrap
from dcd_deploy.lowering.places import Place
from dcd_deploy.lowering.targets import Target

LAST, XNNPACK = "channels_last", "xnnpack"


@dataclass(frozen=True)
class DeployNetwork:
    """The deploy graph for one target.

    ``module`` takes the network's inputs, and gives its output, or a tuple of several, named ``outputs``. ``lowering``
    says which lowering each dynamic layer got, by its path in the trained network; ``places`` what each submodule of
    ``module`` is there; ``notes`` what a user should be told; ``batch`` the only batch size that it serves, if not any.
    """

    module: fx.GraphModule
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    lowering: dict[str, str]
    places: dict[str, Place]
    notes: tuple[str, ...]
    batch: int | None = None


@dataclass(frozen=True)
class Plan:
    """The passes of one lowering, in their order."""

    substitute: Substitute
    wrap: Wrap
    passes: tuple[Pass, ...]


def plan(target: Target, choice: Choice = AUTO, keep_float: Collection[str] = ()) -> Plan:
    """Return the passes for a target.

    Sizes come first; then dropout, since it may stand between a layer and its norm; norms before the choice, since a
    lowering is made of folded weights; the layout, or what a lowering takes into itself, after it; names last.
    """
    substitute, wrap = Substitute(target, choice, keep_float), Wrap()
    ordinary: tuple[Pass, ...] = (SizesAsNumbers(), DropDropout(), FoldNorms(), PoolByWindows())
    if target.is_batch_free or target.backend.name in (LAST, XNNPACK):
        rest = target.backend.name in (LAST, XNNPACK)
        ordinary += (ConvolveByProducts(groups_alone=not rest, transposed=target.backend.name != LAST),)
    ordinary += (SpellOut(batch_free=target.is_batch_free, sliced=target.backend.name == XNNPACK),)
    if target.backend.name == XNNPACK:
        ordinary += (SpellForXnnpack(),)
    layout: tuple[Pass, ...] = ()
    if target.backend.name == LAST:
        layout = (FoldByConvolution(), LayOut())
    elif target.backend.name == XNNPACK:
        layout = (ActivateWithin(),)
    return Plan(substitute, wrap, (*ordinary, substitute, *layout, wrap))


def lower(captured: Captured, target: Target, choice: Choice = AUTO, keep_float: Collection[str] = ()) -> DeployNetwork:
    """Return the deploy form of a captured network, in float64.

    Layers within ``keep_float`` will compute in float32 (``Substitute``).

    Raises:
        UnknownNameError, OptionError: the choice is not one that the target has.
    """
    check_choice(choice, target)
    graph = copied(captured.graph)
    planned = plan(target, choice, keep_float)
    notes = list(graph.notes)
    for one in planned.passes:
        notes += [f"{one.name}: '{refusal.path}': {refusal.reason}" for refusal in one(graph).refusals]
    module = _alone(graph).eval()
    rows = planned.substitute.rows
    batch = 1 if any(target.backend.lowerings[name].batches == ONE for name in rows.values()) else None
    return DeployNetwork(module, graph.inputs, graph.outputs, rows, planned.wrap.places, tuple(notes), batch)


def _alone(graph: NetworkGraph) -> fx.GraphModule:
    """Return the graph as a module whose only output, if it is one, is no tuple."""
    (output,) = (node for node in graph.nodes if node.op == "output")
    if len(graph.outputs) == 1:
        output.args = (output.args[0][0],)  # type: ignore[index]  # a tuple of one node
    graph.module.recompile()
    return graph.module


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
            needed = _needed(target.backend.lowerings[name])
            raise OptionError(
                expected=f"{needed} for the lowering '{name}'",
                found=f"`target` {target.name}",
                advice="choose these, or another `lowering`",
            )


def _needed(lowering: type[Lowering]) -> str:
    """Say which options a lowering asks for."""
    batch = {KNOWN: ", and a `batch` number,", ONE: ", and `batch` 1,"}.get(lowering.batches, "")
    return f"`target` {' or '.join(lowering.only_for or ())}{batch}"


def prepared(captured: Captured) -> NetworkGraph:
    """Return a copy of the graph with which activations, and norms folded into operators, are where a file has them."""
    graph = copied(captured.graph)
    passes: tuple[Pass, ...] = (DropDropout(), FoldNorms())
    for one in passes:
        one(graph)
    return graph
