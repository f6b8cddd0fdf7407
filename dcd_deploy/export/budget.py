"""Which layers of a network in int8 stay in float32, so that no more accuracy is lost than a budget allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dcd_deploy.errors import OptionError, VerificationError
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.quantised import accuracy, answers
from dcd_deploy.export.truth import TrainReference
from dcd_deploy.export.verify import Runner

Kept = tuple[str, ...]


def within_budget(
    run: Callable[[Kept], Runner], noisiest: Callable[[], Sequence[str]], right: TrainReference, config: BuildConfig
) -> Kept:
    """Return the layers that stay in float32: as few as serve, the noisiest first. Their number doubles.

    ``run`` makes the network in int8 without the layers that it is given; ``noisiest`` gives all that are left, in
    their order, and is asked only where the network as it is loses too much.

    Raises:
        OptionError: the calibration images have no labels.
        VerificationError: with half of the layers in float32 it is still more.
    """
    assert config.budget is not None
    kept, lost = config.keep_float, _lost(run(config.keep_float), right, config)
    worst = noisiest() if lost > config.budget else ()
    number = 1
    while lost > config.budget:
        if number > len(worst) / 2:
            raise VerificationError(
                f"expected at most {config.budget:g} points of top-1 lost, found {lost:.2f} with {len(kept)} of "
                f"{len(worst) + len(config.keep_float)} layers in float32; raise `budget`, or stay with `precision` "
                "float32"
            )
        kept = (*config.keep_float, *worst[:number])
        lost, number = _lost(run(kept), right, config), 2 * number
    return kept


def _lost(run: Runner, right: TrainReference, config: BuildConfig) -> float:
    found = accuracy(answers(run, right.inputs, right.names), right, config)
    if found is None:
        raise OptionError(
            expected="calibration images with labels of the network's classes, for `budget`",
            found="none",
            advice="give a folder of class folders, or an .npz file with 'labels'",
        )
    return found.lost
