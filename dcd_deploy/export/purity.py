"""A file is a function of each input. What is none is refused, and the submodule named.

A network that draws random numbers or counts its calls gives the same input another output the second time; one that
normalises by statistics of the batch, beside other inputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from dcd_deploy.dynamic.float64 import arithmetic_of
from dcd_deploy.dynamic.rounding import DISTURBANCE, disturbed
from dcd_deploy.errors import ExportError, VerificationError
from dcd_deploy.lowering.compared import TELLING

SAME = 1e-9  # relative to the size: sums by several threads may round differently
Call = tuple[str, list[Tensor], list[Tensor]]


def state_of(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of its parameters and buffers."""
    return {name: values.clone() for name, values in _state(network).items()}


def check_repeatable(
    network: nn.Module, inputs: tuple[Tensor, ...], answers: list[Tensor], before: dict[str, Tensor]
) -> None:
    """Hold a network against what it answers to the first input again, and against its state ``before`` ``answers``.

    The state may follow the size of the batch: that of before was left by an example, which is one, as the first is.

    Raises:
        ExportError: a parameter or buffer has changed, or its outputs do each time; the message names the submodule.
    """
    first = tuple(each[:1] for each in inputs)
    again = _outputs(network, first)
    after = _state(network)
    changed = [name for name in after if name not in before or not _equal(before[name], after[name])]
    if changed or before.keys() - after.keys():
        name = [*changed, *(before.keys() - after.keys())][0]
        raise ExportError(
            f"running the network changes its state ('{name}'), which a file cannot; give a network whose forward "
            "leaves its parameters and buffers alone"
        )
    if _same(_part(answers, len(inputs[0]), 1), again) or _same(again, _outputs(network, first)):
        return  # if it is as the second alone, it hangs on the batch, for which ``check_each_alone`` has better words
    culprit = _culprit(network, first, first)
    raise ExportError(
        f"the network gives another output each time that it is run{_by(culprit)}; give one that draws no random "
        "numbers and keeps no state between calls"
    )


def check_each_alone(network: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Run the network on several inputs, and on the first of them alone.

    Raises:
        ExportError: that makes another output of it; the message names the submodule.
    """
    first = tuple(each[:1] for each in inputs)
    together, alone = _outputs(network, inputs), _outputs(network, first)
    if _same(_part(together, len(inputs[0]), 1), alone):
        return
    culprit = _culprit(network, inputs, first)
    norm = getattr(network.get_submodule(culprit), "track_running_stats", True) is False
    raise ExportError(
        f"the output for one input depends on the others of its batch{_by(culprit)}"
        + (", a norm without running statistics (track_running_stats=False)" if norm else "")
        + "; a file computes each input by itself: "
        + ("train it with them, or with GroupNorm" if norm else "keep the samples apart in forward")
    )


def check_calm(network: nn.Module, inputs: tuple[Tensor, ...], allowed: float) -> None:
    """Move the inputs by some roundings of float64, and see how far that moves the outputs.

    Raises:
        VerificationError: by a tenth of what is ``allowed``, relative to their range, or more, so that no form of it
            that sums up in another order can be proved.
    """
    pairs = zip(_outputs(network, inputs), _outputs(network, disturbed(inputs)), strict=True)
    reaction = max(float((one - other).abs().max() / (one.max() - one.min())) for one, other in pairs)
    if reaction >= 0.1 * allowed:
        raise VerificationError(
            expected=TELLING,
            found=f"one whose outputs move by {reaction:.0e} of their range where its input moves by {DISTURBANCE:.0e} "
            "of its own",
            advice="an untrained network amplifies rounding: train it, or try real pictures with `samples`",
        )


def same_outputs(network: nn.Module, form: nn.Module, inputs: tuple[Tensor, ...]) -> bool:
    """Whether a network and a form of it give the same."""
    return _same(_outputs(network, inputs), _outputs(form, inputs))


def _by(path: str) -> str:
    return f", by its submodule '{path}'" if path else ""


def _outputs(network: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    with torch.inference_mode(), arithmetic_of(inputs[0].dtype):
        return [leaf.clone() for leaf in tree_leaves(network(*inputs)) if isinstance(leaf, Tensor)]


def _state(network: nn.Module) -> dict[str, Tensor]:
    return dict(network.named_parameters()) | dict(network.named_buffers())


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.nan_to_num(), other.nan_to_num())


def _same(one: list[Tensor], other: list[Tensor]) -> bool:
    if [values.shape for values in one] != [values.shape for values in other]:
        return False
    pairs = ((a.double().nan_to_num(), b.double().nan_to_num()) for a, b in zip(one, other, strict=True))
    return all(bool(((a - b).abs() <= SAME * a.abs().max()).all()) for a, b in pairs if a.numel())


def _culprit(network: nn.Module, inputs: tuple[Tensor, ...], again: tuple[Tensor, ...]) -> str:
    """Return the path of the first submodule whose outputs differ between two runs though its inputs do not.

    The second run may be of the first entries of the inputs alone.
    """
    calls: list[list[Call]] = []
    for each in (inputs, again):
        calls.append([])
        with _recorded(network, calls[-1]):
            _outputs(network, each)
    count, first = len(inputs[0]), len(again[0])
    for (path, given, answer), (other, given_again, answer_again) in zip(*calls, strict=False):
        if path != other or not _same(_part(given, count, first), given_again):
            continue
        if not _same(_part(answer, count, first), answer_again):
            return str(path)
    return ""


def _part(values: list[Tensor], count: int, first: int) -> list[Tensor]:
    """Return the ``first`` entries of the tensors with an entry for each of ``count`` inputs."""
    return [each[:first] if each.ndim and len(each) == count else each for each in values]


@contextmanager
def _recorded(network: nn.Module, calls: list[Call]) -> Iterator[None]:
    def note(path: str, given: object, answer: object) -> None:
        leaves = ([leaf.clone() for leaf in tree_leaves(each) if isinstance(leaf, Tensor)] for each in (given, answer))
        before, after = leaves
        calls.append((path, before, after))

    hooks = [
        module.register_forward_hook(lambda _, given, answer, path=path: note(path, given, answer))
        for path, module in network.named_modules()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
