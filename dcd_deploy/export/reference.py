"""The reference of every check: the network in float64, and the proof that the inputs exercise its dynamic layers.

The inputs are as vivid as the network bears: far from what it was trained on, a dynamic network may amplify rounding
until float32 and float64 disagree, and then no file can be told from another. The first contrast at which the network
itself agrees with itself, computed in both, is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from dcd_deploy.artifacts import OUTPUT, Preprocessing
from dcd_deploy.dynamic.copies import copied_in
from dcd_deploy.dynamic.float64 import arithmetic_of
from dcd_deploy.errors import DcdDeployError, ExportError, VerificationError
from dcd_deploy.export.purity import check_calm, check_each_alone, check_repeatable, same_outputs, state_of
from dcd_deploy.export.sensitivity import Variation, has_seen_all, measure_sensitivity, watching
from dcd_deploy.export.telling import REPRODUCIBLE
from dcd_deploy.export.truth import Outputs, TrainReference
from dcd_deploy.export.verify import DEPLOY_TOLERANCE, Runner
from dcd_deploy.lowering.failure import at, first_line
from dcd_deploy.lowering.outputs import flat
from dcd_deploy.samples import Images, Inputs, InputSpec, generated_inputs

CONTRASTS = (1.0, 0.5, 0.25)
FOLLOWED = "its forward could be followed for one input alone"


@dataclass(frozen=True)
class _Tried:
    """A run of the network on some inputs."""

    inputs: Inputs
    outputs: Mapping[str, Outputs]
    float32_error: float
    contrast: float | None
    variation: Variation
    one_at_a_time: str


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
        tried.append(replace(_try(network, samples, alone, canonical), contrast=contrast))
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
    return _reference(network, _try(network, samples, alone, canonical), alone, canonical)


def _try(network: nn.Module, inputs: Inputs, alone: str, canonical: nn.Module | None) -> _Tried:
    before = state_of(network)
    outputs, variation, why = answers_of(network, inputs, alone, canonical)
    answers = [torch.from_numpy(values) for values in outputs.values()]
    check_repeatable(network, tensors_of(network, inputs), answers, before)
    error = _float32_error(network, inputs, outputs, alone, one_at_a_time=bool(why))
    return _Tried(inputs, outputs, error, None, variation, why)


def answers_of(
    network: nn.Module, inputs: Inputs, alone: str, canonical: nn.Module | None = None
) -> tuple[dict[str, Outputs], Variation, str]:
    """Return what a network answers, how its heads move then, and why it was run on each input by itself, if it was.

    What a file for one input alone has to give is what the network gives to one input alone.
    """
    why = FOLLOWED if getattr(canonical, "one_at_a_time", False) else ""
    while True:
        variation = Variation()
        with watching(network, canonical, variation):
            try:
                return run_torch(network, inputs, alone, one_at_a_time=bool(why)), variation, why
            except DcdDeployError:
                raise
            except Exception as error:  # whatever a user's module raises
                said = f"{at(network, error)}: {first_line(error)}"
                if why or len(inputs[0]) == 1:
                    raise ExportError(f"the network does not run on the verification inputs{said}") from error
                why = f"its forward does not run on {len(inputs[0])} at once{said}"


def _float32_error(
    network: nn.Module, inputs: Inputs, outputs: Mapping[str, Outputs], alone: str, *, one_at_a_time: bool
) -> float:
    """Return how far float32 is from the outputs in float64, relative to their range: of the worst of them."""
    in_float32 = copied_in(network, torch.float32)
    try:
        single = run_torch(in_float32, inputs, alone, one_at_a_time=one_at_a_time)
    except RuntimeError as error:  # of a tensor that torch does not see, which stayed in float64
        raise ExportError(
            f"the network does not run in float32{at(in_float32, error)}: {first_line(error)}; keep its tensors in "
            "buffers, where torch sees them"
        ) from error
    errors = []
    for name, values in outputs.items():
        with np.errstate(invalid="ignore"):  # infinite outputs make NaN, which ranks last
            spread = float(np.ptp(values))
            errors.append(float(np.abs(single[name] - values).max()) / spread if spread else math.nan)
    return math.nan if any(map(math.isnan, errors)) else max(errors)


def _reference(network: nn.Module, tried: _Tried, alone: str, canonical: nn.Module | None) -> TrainReference:
    ran = network if canonical is None else canonical
    known = canonical is None or has_seen_all(tried.variation, canonical, len(tried.inputs[0]))
    why = tried.one_at_a_time

    def run(first: int) -> dict[str, Outputs]:
        return run_torch(ran, tuple(values[first:] for values in tried.inputs), alone, one_at_a_time=bool(why))

    sensitivity = measure_sensitivity(ran, run, tried.outputs, tried.variation if known else None)
    return TrainReference(
        tried.inputs,
        tried.outputs,
        sensitivity,
        tried.float32_error,
        tried.contrast,
        as_initialised=is_as_initialised(network),
        one_at_a_time=why,
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


def run_torch(
    network: nn.Module, inputs: Inputs, alone: str = OUTPUT, *, one_at_a_time: bool = False
) -> dict[str, Outputs]:
    """Return the outputs by name, each with an entry for each input, computed in the network's own precision.

    What hangs on no input, such as a detector's anchors (1, …), is repeated for each. It runs on all inputs at once,
    or on ``one_at_a_time``.

    Raises:
        CaptureError: they are no tensors.
        VerificationError: an output has not an entry for each input.
    """
    tensors = tensors_of(network, inputs)
    found = _run_each(network, tensors, alone) if one_at_a_time else _run(network, tensors, alone)
    for name, values in found.items():
        if not values.ndim or len(values) != len(inputs[0]):
            last = _run(network, tuple(each[-1:] for each in tensors), alone)[name]
            found[name] = _for_each(name, values, last, len(inputs[0]))
    return {name: values.double().numpy() for name, values in found.items()}


def _run(network: nn.Module, tensors: tuple[Tensor, ...], alone: str) -> dict[str, Tensor]:
    with torch.inference_mode(), arithmetic_of(tensors[0].dtype):
        return flat(network(*tensors), alone)


def _run_each(network: nn.Module, tensors: tuple[Tensor, ...], alone: str) -> dict[str, Tensor]:
    """Return the outputs for each input by itself, one behind the other; of the first, where they have no batch."""
    each = [_run(network, tuple(one[i : i + 1] for one in tensors), alone) for i in range(len(tensors[0]))]
    batched = {name for name, first in each[0].items() if first.ndim and len(first) == 1}
    return {name: torch.cat([one[name] for one in each]) if name in batched else each[0][name] for name in each[0]}


def _for_each(name: str, values: Tensor, last: Tensor, count: int) -> Tensor:
    """Return an output (1, …) that hangs on no input for each of ``count``; ``last`` is it for the last alone.

    Raises:
        VerificationError: it is of another shape, or hangs on the inputs.
    """
    constant = last.shape == values.shape and torch.equal(last, values)
    if constant and values.ndim and len(values) == 1:
        return values.expand(count, *values.shape[1:])
    shape = tuple(values.shape)
    raise VerificationError(
        expected=f"output '{name}' of the network with an entry for each of {count} inputs, in its first dimension",
        found=f"shape {shape}{', the same for all inputs' if constant else ''}",
        advice=(
            f"leave it out and keep it in the app, or return it of shape {(1, *shape)} and export at `batch` 1"
            if constant
            else "return outputs that begin with the batch"
        ),
    )


@contextmanager
def blaming_batches(network: nn.Module, form: nn.Module, reference: TrainReference) -> Iterator[None]:
    """Where a form of the network fails to verify, look for what the network does that none could.

    Raises:
        ExportError: in place of the VerificationError, if the network's output for one input depends on the others.
        VerificationError: another one, if the network amplifies rounding.
    """
    try:
        yield
    except VerificationError:
        tensors = tensors_of(network, reference.inputs)
        if not reference.one_at_a_time and same_outputs(network, form, tuple(each[:1] for each in tensors)):
            check_each_alone(network, tensors)
        if not reference.one_at_a_time:
            check_calm(network, tensors, DEPLOY_TOLERANCE)
        raise


def runner(network: nn.Module, alone: str = OUTPUT, *, one_at_a_time: bool = False) -> Runner:
    """Return what runs the network for ``verify.compare``."""
    return lambda inputs: tuple(run_torch(network, inputs, alone, one_at_a_time=one_at_a_time).values())


def tensors_of(network: nn.Module, inputs: Inputs, count: int | None = None) -> tuple[Tensor, ...]:
    """Return (the first ``count`` of) the inputs in the network's precision."""
    weights = (w.dtype for w in (*network.parameters(), *network.buffers()) if w.is_floating_point())
    precision = next(weights, torch.float64)
    return tuple(torch.from_numpy(values[:count]).to(precision) for values in inputs)
