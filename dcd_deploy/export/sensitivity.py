"""The proof that inputs exercise the dynamic layers: how far they move each head, and how much that matters.

Freezing a head of every layer to the value that the first input gives it is the fault that a careless trace makes. How
far that moves the outputs says how well the inputs would show it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

import numpy as np
import torch
from torch import Tensor, fx, nn

from dcd_deploy.dynamic.canonical import CanonicalLayer
from dcd_deploy.dynamic.operator import KERNELS
from dcd_deploy.export.truth import Outputs, Sensitivity
from dcd_deploy.lowering.capture import BODY

SMALLEST_SIZE = 1e-300  # a head that is all zero does not vary

Heads = Mapping[str, Tensor]
Observe = Callable[[str, Heads], Heads | None]
Run = Callable[[int], Mapping[str, Outputs]]


def observed_layers(network: nn.Module) -> dict[str, CanonicalLayer]:
    """Return the dynamic layers of a captured network by their paths."""
    return {path: module for path, module in network.named_modules() if isinstance(module, CanonicalLayer)}


@contextmanager
def observing(network: nn.Module, observe: Observe) -> Iterator[None]:
    """Let ``observe`` see the values of all heads, with the layer's path; it may return others in their place."""
    layers = observed_layers(network)
    before = {path: layer.observe for path, layer in layers.items()}
    try:
        for path, layer in layers.items():
            layer.observe = lambda heads, path=path: observe(path, heads)
        yield
    finally:
        for path, layer in layers.items():
            layer.observe = before[path]


@contextmanager
def watching(network: nn.Module, canonical: nn.Module | None, observe: Callable[[str, Heads], None]) -> Iterator[None]:
    """Let ``observe`` see what heads the layers of ``canonical`` give for what those of a network get at their places.

    They are computed beside the network, which stays what it is. Where the two have no places in common, or there is no
    ``canonical``, only layers of the network that are canonical themselves are seen.
    """
    layers, parts = observed_layers(canonical or network), dict(network.named_modules())
    places = {path: parts.get(path.removeprefix(f"{BODY}.")) for path in layers}
    if canonical is None or None in places.values():
        with observing(network, observe), beginning(network, observe):
            yield
        return

    def see(path: str, given: tuple[object, ...], named: dict[str, object]) -> None:
        tensors = [one for one in (*given, *named.values()) if isinstance(one, Tensor)]
        with suppress(RuntimeError, TypeError):  # of a call unlike the one that was proved: it is not seen
            observe(path, layers[path].heads(*tensors))

    hooks = [
        part.register_forward_pre_hook(lambda _, *given, path=path: see(path, *given), with_kwargs=True)
        for path, part in places.items()
        if part is not None
    ]
    try:
        with beginning(network, observe):
            yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def beginning(network: nn.Module, observe: object) -> Iterator[None]:
    """Tell ``observe``, where it wants to know (``begin``), whenever the network begins with further inputs."""
    begin = getattr(observe, "begin", None)
    hook = None if begin is None else network.register_forward_pre_hook(lambda *_: begin())
    try:
        yield
    finally:
        if hook is not None:
            hook.remove()


class Variation:
    """Notes what each head of each layer gave to the inputs: of all at once, or of one run after the other.

    ``calls`` has for each layer its calls within a run, in their order, and for each of these the heads of every run.
    """

    def __init__(self) -> None:
        self.calls: dict[str, list[list[Heads]]] = {}
        self._called: Counter[str] = Counter()

    def begin(self) -> None:
        """Begin a run with further inputs."""
        self._called.clear()

    def __call__(self, path: str, heads: Heads) -> None:
        calls, number = self.calls.setdefault(path, []), self._called[path]
        if number == len(calls):
            calls.append([])
        calls[number].append(heads)
        self._called[path] += 1

    @property
    def firsts(self) -> dict[str, list[Heads]]:
        """What each call of a layer gave to the first input."""
        return {
            path: [{head: values[:1] for head, values in runs[0].items()} for runs in calls]
            for path, calls in self.calls.items()
        }

    @property
    def sizes(self) -> set[int]:
        """To how many inputs the calls gave something."""
        each = [runs for calls in self.calls.values() for runs in calls]
        return {sum(len(heads[head]) for heads in runs) for runs in each for head in runs[0]}

    @property
    def found(self) -> dict[str, dict[str, float]]:
        """How far each head's values get from their mean over the inputs, relative to their size, by layer."""
        found: dict[str, dict[str, float]] = {}
        for path, calls in self.calls.items():
            for runs in calls:
                for head in runs[0]:
                    before = found.setdefault(head, {}).get(path, 0.0)  # of a layer that is called twice
                    found[head][path] = max(before, _moved(torch.cat([heads[head] for heads in runs])))
        return found


def _moved(values: Tensor) -> float:
    size = values.norm(dim=1).mean().clamp_min(SMALLEST_SIZE)
    return float((values - values.mean(0)).norm(dim=1).max() / size)


def has_seen_all(seen: Variation, canonical: nn.Module, count: int) -> bool:
    """Whether the calls that were seen are those of the graph, each of them for all of ``count`` inputs.

    A network may call a layer in vain, or sample by sample, where its graph does not.
    """
    body = getattr(canonical, BODY, None)
    if not isinstance(body, fx.GraphModule):
        return False
    calls = Counter(f"{BODY}.{node.target}" for node in body.graph.nodes if node.op == "call_module")
    layers = observed_layers(canonical)
    return seen.sizes == {count} and all(len(seen.firsts.get(path, ())) == calls[path] for path in layers)


def measure_sensitivity(
    network: nn.Module, run: Run, outputs: Mapping[str, Outputs], seen: Variation | None = None
) -> Sensitivity | None:
    """Measure how the inputs move the heads, and how much that matters; None where there is no dynamic layer.

    ``run`` runs ``network`` on all inputs from the one of a number on; on all it gives ``outputs``, and ``seen`` is
    what it showed then, if somebody looked.
    """
    if not observed_layers(network):
        return None
    if seen is None:
        seen = Variation()
        with observing(network, seen), beginning(network, seen):
            run(0)
    found, firsts = _varying(network, seen.found), seen.firsts
    frozen = {head: frozen_effect(network, run, outputs, head, firsts) for head in found}
    return Sensitivity(found, frozen) if found else None


def _varying(network: nn.Module, found: Mapping[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return of each head the layers where it can vary at all, as the share of a single kernel cannot."""
    single = {
        path
        for path, layer in observed_layers(network).items()
        if (head := layer.operator.attention.heads.get(KERNELS)) is not None and head.is_share_of_one
    }
    shares = {path: moved for path, moved in found.get(KERNELS, {}).items() if path not in single}
    return {name: each for name, each in {**found, KERNELS: shares}.items() if each}


def frozen_effect(
    network: nn.Module, run: Run, outputs: Mapping[str, Outputs], head: str, firsts: Mapping[str, list[Heads]]
) -> float:
    """Return the largest relative change of an output when ``head`` says what it says to the first input.

    The first itself stays what it is, and needs no run.
    """
    if all(len(values) == 1 for values in outputs.values()):
        return 0.0
    freeze = _Freeze(head, firsts)
    with observing(network, freeze), beginning(network, freeze):
        frozen = run(1)
    with np.errstate(invalid="ignore", divide="ignore"):  # such outputs are refused by name in ``new_report``
        effects = [float(np.abs(frozen[name] - values[1:]).max() / np.ptp(values)) for name, values in outputs.items()]
    return max(effects)


class _Freeze:
    """Lets a head say what it said to the first input, call by call of each run."""

    def __init__(self, head: str, firsts: Mapping[str, list[Heads]]) -> None:
        self.head, self.firsts = head, firsts
        self.begin()

    def begin(self) -> None:
        """Begin a run with further inputs."""
        self._calls = {path: iter(each) for path, each in self.firsts.items()}

    def __call__(self, path: str, heads: Heads) -> Heads:
        first = next(self._calls[path])
        return {**heads, self.head: first[self.head].expand_as(heads[self.head])} if self.head in heads else heads
