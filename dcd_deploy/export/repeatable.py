"""Whether a network is a function: the same outputs for the same inputs, and no state that running it changes.

A file is one. A network that draws random numbers, or counts its calls, is refused before anything is compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from dcd_deploy.dynamic.depthwise import QuickDepthwise
from dcd_deploy.errors import ExportError

SAME = 1e-9  # relative to the size: sums by several threads may round differently

Call = tuple[str, list[Tensor], list[Tensor]]


def check_repeatable(network: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Run the network twice on the same inputs.

    Raises:
        ExportError: its outputs differ, or a parameter or buffer has changed; the message names the submodule.
    """
    before = {name: values.clone() for name, values in _state(network).items()}
    first, again = _outputs(network, inputs), _outputs(network, inputs)
    after = _state(network)
    changed = [name for name in after if name not in before or not _equal(before[name], after[name])]
    if changed or before.keys() - after.keys():
        name = [*changed, *(before.keys() - after.keys())][0]
        raise ExportError(
            f"running the network changes its state ('{name}'), which a file cannot; give a network whose forward "
            "leaves its parameters and buffers alone"
        )
    if not _same(first, again):
        where = _culprit(network, inputs)
        raise ExportError(
            f"the network gives another output each time that it is run{where}; give one that draws no random numbers "
            "and keeps no state between calls"
        )


def _outputs(network: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    with torch.inference_mode(), QuickDepthwise():
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


def _culprit(network: nn.Module, inputs: tuple[Tensor, ...]) -> str:
    """Say which submodule it is: the first to end with another output for the same input."""
    calls: list[list[Call]] = []
    for _ in range(2):
        calls.append([])
        with _recorded(network, calls[-1]):
            _outputs(network, inputs)
    for (path, given, answer), (other, given_again, answer_again) in zip(*calls, strict=False):
        if path == other and _same(given, given_again) and not _same(answer, answer_again):
            return f", by its submodule '{path}'" if path else ""
    return ""


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
