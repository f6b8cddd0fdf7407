"""Which layers of a network are dynamic: recognised by their parts, and proved on what they really get.

    module → candidates of each submodule, by parts
           → what each layer gets, in one run on the example
           → the candidate of each that equals it (``dynamic.proof``), or a refusal

Proving takes longer than all else that is done before a graph is lowered, and its answer is nearly always the same for
layers of one kind. So it may be put off (``Expected``) until what hangs on the answer is under way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dcd_deploy.dynamic.operator import DynamicOperator
from dcd_deploy.dynamic.proof import fitting_size, prove
from dcd_deploy.dynamic.recognise import Refusal, candidates, is_another
from dcd_deploy.lowering.network import Network

Candidates = tuple[DynamicOperator, ...] | Refusal
Layers = Mapping[str, Candidates]
Outcomes = dict[str, int | Refusal]  # which candidate of each layer was proved, or why none: small enough to be sent
Proof = Callable[[Layers], Outcomes]
Where = Callable[[Proof, Layers], Outcomes]


def here(proof: Proof, layers: Layers) -> Outcomes:
    """Prove the layers in this process."""
    return proof(layers)


class Expected:
    """Takes for proved what is likely, and proves it when it is asked: one layer of each kind stands for the others.

    Of a kind are those for which one family has equally many candidates. Where the one that stands for them is refused,
    each is proved at once.
    """

    def __init__(self) -> None:
        self._put_off: list[tuple[Proof, Layers, Outcomes]] = []
        self._right = True

    def __call__(self, proof: Proof, layers: Layers) -> Outcomes:
        """Return what is proved of some layers, and expected of the others."""
        kinds: dict[object, str] = {}
        first = {path: kinds.setdefault(_kind(path, said), path) for path, said in layers.items()}
        proved = proof({path: layers[path] for path in kinds.values()})
        expected = {path: proved[one] for path, one in first.items() if path != one and isinstance(proved[one], int)}
        proved |= proof({path: said for path, said in layers.items() if path not in proved and path not in expected})
        self._put_off.append((proof, {path: layers[path] for path in expected}, expected))
        return {path: (proved | expected)[path] for path in layers}

    def proved(self) -> bool:
        """Prove the others, and say whether all were as expected; what they get in the network is let go of then."""
        while self._put_off and self._right:
            proof, layers, expected = self._put_off.pop()
            self._right = proof(layers) == expected
        return self._right


def _kind(path: str, said: Candidates) -> object:
    return path if isinstance(said, Refusal) else (said[0].family, len(said))


def dynamic_layers(
    network: Network, leaf: Sequence[str] = (), where: Where = here
) -> tuple[dict[str, DynamicOperator], dict[str, Refusal]]:
    """Return the operators of the layers that were recognised and proved, by path, and those that were refused.

    A layer is proved on what it gets in the network; one that its network never calls is none. What lies within a
    dynamic layer is part of it.
    """
    operators: dict[str, DynamicOperator] = {}
    refused: dict[str, Refusal] = {}
    found = _candidates(network.module, leaf)
    while found:
        calls, sizes = _calls(network, {path: network.module.get_submodule(path) for path in found})
        called = {path: _fitting(said, calls[path], sizes.get(path)) for path, said in found.items() if path in calls}
        for path, outcome in where(partial(_prove, network.module, calls), called).items():
            said = called[path]
            if isinstance(outcome, Refusal):
                refused[path] = outcome
            elif isinstance(said, tuple):
                operators[path] = said[outcome]
        within = [path for path in found if path in refused]
        for path in within:
            if is_another(network.module.get_submodule(path), calls.get(path, ())):
                del refused[path]
        found = {path: said for top in within for path, said in _candidates(network.module, leaf, top).items()}
    return operators, refused


def _prove(module: nn.Module, calls: Mapping[str, tuple[Tensor, ...]], called: Layers) -> Outcomes:
    """Prove the layers at these paths on what they were called with."""
    outcomes: Outcomes = {}
    for path, said in called.items():
        if isinstance(said, Refusal):
            outcomes[path] = said
            continue
        proved = prove(module.get_submodule(path), said, calls[path])
        outcomes[path] = proved if isinstance(proved, Refusal) else [one is proved for one in said].index(True)
    return outcomes


def _candidates(module: nn.Module, leaf: Sequence[str], top: str = "") -> dict[str, Candidates]:
    """Return what the adapters say of each submodule within ``top``; parts of a candidate are not asked again."""
    found: dict[str, Candidates] = {}
    for inner, part in module.get_submodule(top).named_modules():
        path = f"{top}.{inner}".strip(".")
        if not inner or any(path == kept or path.startswith(f"{kept}.") for kept in (*leaf, *found)):
            continue
        if (said := candidates(part)) is not None:
            found[path] = said
    return found


def _fitting(said: Candidates, args: tuple[Tensor, ...], size: torch.Size | None) -> Candidates:
    """Return those that make an output of this size, so that layers of one kind have the same; all where none does."""
    if isinstance(said, Refusal) or size is None or not args:
        return said
    return fitting_size(said, args[0].shape, size) or said


def _calls(
    network: Network, layers: dict[str, nn.Module]
) -> tuple[dict[str, tuple[Tensor, ...]], dict[str, torch.Size]]:
    """Return what each layer gets at its first call when the network runs on its example, and its output's size."""
    calls: dict[str, tuple[Tensor, ...]] = {}
    sizes: dict[str, torch.Size] = {}

    def noting(path: str) -> Callable[..., None]:
        def note(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            del module
            calls.setdefault(path, tuple(v for v in (*given, *named.values()) if isinstance(v, Tensor)))

        return note

    def sizing(path: str) -> Callable[..., None]:
        def note(module: nn.Module, given: tuple[Any, ...], y: object) -> None:
            del module, given
            if isinstance(y, Tensor):
                sizes.setdefault(path, y.shape)

        return note

    handles = [part.register_forward_pre_hook(noting(path), with_kwargs=True) for path, part in layers.items()]
    handles += [part.register_forward_hook(sizing(path)) for path, part in layers.items()]
    try:
        network.run(*network.examples)
    finally:
        for handle in handles:
            handle.remove()
    return calls, sizes
