"""The reference of every check: the network in float64, and the proof that the inputs exercise its dynamic layers.

The inputs are as vivid as the network bears: far from what it was trained on, a dynamic network may amplify rounding
until float32 and float64 disagree, and then no file can be told from another. The first contrast at which the network
itself agrees with itself, computed in both, is taken.

A file is a function. A network that draws random numbers, or counts its calls, is refused before anything is compared.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from dcd_deploy.artifacts import OUTPUT, Preprocessing
from dcd_deploy.dynamic.float64 import arithmetic_of
from dcd_deploy.errors import ExportError, VerificationError
from dcd_deploy.export.sensitivity import Variation, frozen_effect, measure_sensitivity, observing
from dcd_deploy.export.truth import Outputs, Sensitivity, TrainReference
from dcd_deploy.export.verify import Runner
from dcd_deploy.lowering.network import flat
from dcd_deploy.samples import Images, Inputs, InputSpec, generated_inputs

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


CONTRASTS = (1.0, 0.5, 0.25)
REPRODUCIBLE = 0.2  # of the tolerance, which leaves room for a runtime's other order of summation


@dataclass(frozen=True)
class _Tried:
    """A run of the network on some inputs."""

    inputs: Inputs
    outputs: Mapping[str, Outputs]
    float32_error: float
    contrast: float | None
    variation: dict[str, dict[str, float]]


def generated_reference(
    network: nn.Module,
    preprocessing: Preprocessing | None,
    tolerance: float,
    inputs: Sequence[InputSpec] = (),
    alone: str = OUTPUT,
    canonical: nn.Module | None = None,
) -> TrainReference:
    """Run the float64 ``network`` on the most vivid inputs on which it is reproducible.

    Where it is reproducible on none, those that come nearest are taken, and the gate has to decide. Without ``inputs``
    it takes one picture. ``alone`` is what an output is called that is the only one; ``canonical`` the network with
    canonical layers, where ``network`` has none that can be observed.

    Raises:
        DcdDeployError: its outputs are no tensors with an entry for each input, or it is not repeatable.
    """
    if not inputs:
        assert preprocessing is not None
        inputs = (InputSpec("input", (3, preprocessing.height, preprocessing.width)),)
    tried: list[_Tried] = []
    for contrast in CONTRASTS:
        samples = generated_inputs(inputs, preprocessing, contrast=contrast)
        if not tried:
            check_repeatable(network, _tensors(network, samples, 1))
        tried.append(replace(_try(network, samples, alone), contrast=contrast))
        if tried[-1].float32_error <= REPRODUCIBLE * tolerance:
            break
    # no comparison with NaN is true, so that min() would keep a NaN that comes first
    best = min(tried, key=lambda one: math.inf if math.isnan(one.float32_error) else one.float32_error)
    return _reference(network, best, alone, canonical)


def make_reference(
    network: nn.Module, inputs: Images | Inputs, alone: str = OUTPUT, canonical: nn.Module | None = None
) -> TrainReference:
    """Run the float64 ``network`` on samples (N, …) of its only input, or of all of them."""
    samples = inputs if isinstance(inputs, tuple) else (inputs,)
    check_repeatable(network, _tensors(network, samples, 1))
    return _reference(network, _try(network, samples, alone), alone, canonical)


def _try(network: nn.Module, inputs: Inputs, alone: str) -> _Tried:
    variation = Variation()
    with observing(network, variation):
        outputs = run_torch(network, inputs, alone)
    error = _float32_error(network, inputs, outputs, alone)
    return _Tried(inputs, outputs, error, None, variation.found)


def _float32_error(network: nn.Module, inputs: Inputs, outputs: Mapping[str, Outputs], alone: str) -> float:
    """Return how far float32 is from the outputs in float64, relative to their range: of the worst of them."""
    single = run_torch(copy.deepcopy(network).float(), inputs, alone)
    errors = []
    for name, values in outputs.items():
        with np.errstate(invalid="ignore"):  # infinite outputs make NaN, which ranks last
            spread = float(np.ptp(values))
            errors.append(float(np.abs(single[name] - values).max()) / spread if spread else math.nan)
    return math.nan if any(map(math.isnan, errors)) else max(errors)


def _reference(network: nn.Module, tried: _Tried, alone: str, canonical: nn.Module | None) -> TrainReference:
    if canonical is not None:
        run = lambda: run_torch(canonical, tried.inputs, alone)  # noqa: E731 - two ways to run, each for one use
        sensitivity = measure_sensitivity(canonical, run, tried.outputs)
    else:  # what moves was seen when the reference was made
        run = lambda: run_torch(network, tried.inputs, alone)  # noqa: E731
        frozen = {head: frozen_effect(network, run, tried.outputs, head) for head in tried.variation}
        sensitivity = Sensitivity(tried.variation, frozen) if tried.variation else None
    return TrainReference(
        tried.inputs,
        tried.outputs,
        sensitivity,
        tried.float32_error,
        tried.contrast,
        as_initialised=is_as_initialised(network),
    )


def is_as_initialised(network: nn.Module) -> bool:
    """Whether no norm of the network has seen a batch: all statistics are those that it was made with."""
    norms = [
        (one.running_mean, one.running_var)
        for one in network.modules()
        if isinstance(one, nn.modules.batchnorm._NormBase)  # noqa: SLF001 - what all norms with statistics are
        and one.running_mean is not None
        and one.running_var is not None
    ]
    return bool(norms) and all(not mean.any() and bool((var == 1).all()) for mean, var in norms)


def run_torch(network: nn.Module, inputs: Inputs, alone: str = OUTPUT) -> dict[str, Outputs]:
    """Return the outputs by name, each with an entry for each input, computed in the network's own precision.

    Raises:
        CaptureError: they are no tensors.
        VerificationError: an output has not an entry for each input.
    """
    tensors = _tensors(network, inputs)
    with torch.inference_mode(), arithmetic_of(tensors[0].dtype):
        found = flat(network(*tensors), alone)
    count = len(inputs[0])
    for name, values in found.items():
        if not values.ndim or len(values) != count:
            raise VerificationError(
                expected=(
                    f"output '{name}' of the network with an entry for each of {count} inputs, in its first dimension"
                ),
                found=f"shape {tuple(values.shape)}",
                advice="return outputs that begin with the batch",
            )
    return {name: values.double().numpy() for name, values in found.items()}


def runner(network: nn.Module, alone: str = OUTPUT) -> Runner:
    """Return what runs the network for ``verify.compare``."""
    return lambda inputs: tuple(run_torch(network, inputs, alone).values())


def _tensors(network: nn.Module, inputs: Inputs, count: int | None = None) -> tuple[Tensor, ...]:
    """Return (the first ``count`` of) the inputs in the network's precision."""
    weights = (w.dtype for w in (*network.parameters(), *network.buffers()) if w.is_floating_point())
    precision = next(weights, torch.float64)
    return tuple(torch.from_numpy(values[:count]).to(precision) for values in inputs)
