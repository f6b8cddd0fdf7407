"""A captured graph beside its module, in float64: they have to be the same but for the order of sums.

Some networks amplify rounding so much that no other order of sums gives the same. Those are told from a graph that is
wrong by what the module itself gives where its inputs move by some roundings.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dcd_deploy.dynamic.rounding import DISTURBANCE, disturbed
from dcd_deploy.errors import CaptureError
from dcd_deploy.lowering.network import Network

EXACT = 1e-10  # of an output's range: the graph is the module's own arithmetic, in another order at the most
GOOD_PART = 0.1  # of a difference that rounding explains: a graph's roundings are more than those of its inputs
TELLING = "a network that float64 can tell from a wrong one"


def check_same(network: Network, found: Sequence[Tensor]) -> None:
    """Compare what the graph gave with what the module gives, in float64, on the example.

    Raises:
        CaptureError: they differ; the module does what a graph does not show, or amplifies rounding.
    """
    for number, (name, ours, theirs) in enumerate(zip(network.outputs, found, network.answers, strict=True)):
        if ours.shape != theirs.shape:
            raise CaptureError(
                f"the module's graph gives '{name}' of shape {tuple(ours.shape)}, the module of {tuple(theirs.shape)}; "
                "let its shape hang on sizes alone"
            )
        worst = _difference(ours, theirs)
        if worst <= EXACT:
            continue
        if (reaction := _reaction(network, number)) >= GOOD_PART * worst:
            raise CaptureError(
                expected=TELLING,
                found=f"one whose '{name}' moves by {reaction:.0e} of its range where the example moves by "
                f"{DISTURBANCE:.0e} of its own",
                advice="an untrained network amplifies rounding: train it, or pass a real input as the example",
            )
        raise CaptureError(
            f"the module's graph computes something else than the module: '{name}' differs by {worst:.1e} of its "
            "range; its forward is random, changes its state, or depends on the data"
        )


def _reaction(network: Network, number: int) -> float:
    """Return how far an output moves with the example; 0 where it is another one each time."""
    before, again, moved = (
        network.run(*inputs)[number] for inputs in (network.examples, network.examples, disturbed(network.examples))
    )
    if before.shape != moved.shape or not torch.equal(before, again):
        return 0.0
    return _difference(moved, before)


def _difference(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference, over the range of an output; of one value, or several alike, a part of it."""
    if not theirs.numel():
        return 0.0
    spread = (theirs.max() - theirs.min()).maximum(theirs.abs().max() * 1e-3).clamp_min(1e-300)
    return float((ours - theirs).abs().max() / spread)
