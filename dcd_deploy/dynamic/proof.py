"""An adapter's operator is believed only when it equals the module, in float64, on random inputs.

    module (a copy, float64, eval)  ==  CanonicalLayer(operator)      per sample, within 1e-10 of its output's range

Inputs: small random maps, whose samples have scales at which gates and softmaxes are soft, and at which they saturate;
then the given arguments, of their real size. Where the small maps suit neither the module nor a candidate (a pooling
of a fixed size), the random maps have the real size too.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dcd_deploy.dynamic.attention import Activation
from dcd_deploy.dynamic.canonical import CanonicalLayer
from dcd_deploy.dynamic.float64 import InFloat64
from dcd_deploy.dynamic.operator import DynamicOperator, OutsideError, Refusal
from dcd_deploy.dynamic.rounding import disturbed
from dcd_deploy.dynamic.subject import Args, TriedModule

TOLERANCE = 1e-10  # of the range of a sample's output
NEAR, ROUNDINGS = 1e-6, 10  # where a sample's output is one value, which may cancel: what moves it as much is tried
BATCHES = ((1.0, 1000.0), (-0.1, -30.0))  # the scale of each sample, and so both signs of what a batch sums up to
SMALL_SIDE = 4  # pixels at least; what "same" padding adds depends on the real side's remainder by the stride
BUDGET, LEAST = 10**10, 8  # multiply-adds for the candidates of one layer, and how many are tried at least
BEHIND = ("relu", "relu6", "silu", "hardswish", "gelu", "sigmoid", "hardsigmoid", "tanh")  # functions of an output
WINDOWS = (nn.AvgPool2d, nn.MaxPool2d)  # pools over a window of a fixed size


def prove(module: nn.Module, candidates: Sequence[DynamicOperator], args: Args) -> DynamicOperator | Refusal:
    """Return the first candidate that equals the module on inputs like ``args``, which are (x,) or (x, operand).

    The module, its buffers and torch's random state are left as they are.
    """
    try:
        with _apart():
            return _first(module, candidates, tuple(_plain(arg) for arg in args))
    except OutsideError as outside:
        return Refusal(candidates[0].family if candidates else "none", str(outside))


def _plain(arg: object) -> Tensor:
    if not isinstance(arg, Tensor) or not arg.is_floating_point():
        raise OutsideError(f"its arguments are tensors of real numbers, found {type(arg).__name__}")
    return arg.detach().to("cpu", torch.float64)


@contextmanager
def _apart() -> Iterator[None]:
    """Compute in float64, without gradients; put torch's defaults and random state back."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), InFloat64():
            yield
    finally:
        torch.set_default_dtype(default)


def _first(module: nn.Module, candidates: Sequence[DynamicOperator], args: Args) -> DynamicOperator:
    subject = TriedModule(module)
    answered = [(args, subject.answer(args))]
    shapes = args[0].shape, answered[0][1].shape
    taking = [one for one in candidates if len(args) == (1 if one.attention.own else 2)]
    fitting = fitting_size(taking, *shapes)
    if not fitting:
        raise OutsideError(_sizes_differ(*shapes) if taking else _inputs_differ(candidates, len(args)))
    nearest, tried, behind = math.inf, 0, None
    for period in _periods(fitting):
        random = _answered(subject, args, period)
        if not random:
            continue
        subject.check_steady(*random[0])
        inputs = [*random, *answered] if period else [*answered, *random]  # the cheap ones first
        affordable = _affordable(fitting, inputs[0][0])
        for one in affordable:
            worst = _difference(one, inputs)
            if worst <= TOLERANCE or (worst < NEAR and _is_rounding(subject, one, inputs)):
                subject.check_unchanged()
                return one
            nearest = min(nearest, worst)
        tried, behind = len(affordable), _function_behind(affordable, inputs)
        if not any(isinstance(part, WINDOWS) for part in module.modules()):
            break  # it takes maps of any size, so the small ones have judged
    raise OutsideError(_reason(tried, nearest) if behind is None else _is_followed(behind))


def fitting_size(
    candidates: Sequence[DynamicOperator], x: Sequence[int], y: Sequence[int]
) -> tuple[DynamicOperator, ...]:
    """Return the candidates whose convolution makes an output of shape y of an input of shape x."""
    makes = functools.cache(lambda geometry: geometry.output(x) == tuple(y))
    return tuple(one for one in candidates if makes(one.geometry))


def _sizes_differ(x: Sequence[int], y: Sequence[int]) -> str:
    sizes = f"its output has shape {tuple(y)} for an input of {tuple(x)}"
    return f"it holds the parts, but {sizes}: no convolution that they suggest makes this size"


def _inputs_differ(candidates: Sequence[DynamicOperator], count: int) -> str:
    if not candidates:
        return "it holds no parts of a dynamic layer"
    if count != 1:
        return f"it holds the parts of a layer of fewer tensors than the {count} that it takes"
    attention, channels = candidates[0].attention, candidates[0].geometry.C
    first = [*attention.stages, *(head for head in attention.heads.values() if head is not None)][:1]
    if attention.pool is None or not first:
        return "it holds the parts, but they weigh by a second tensor, and it takes one"
    values = first[0].weight.shape[1]
    return f"its attention takes {values} values, which do not fit the {channels} channels that its kernels read"


def _periods(candidates: Sequence[DynamicOperator]) -> tuple[int, ...]:
    """Return by what the sides of small maps may differ from the real ones, and 0 for maps of the real size."""
    return math.lcm(*(side for one in candidates for side in one.geometry.stride)), 0


def _affordable(candidates: Sequence[DynamicOperator], args: Args) -> Sequence[DynamicOperator]:
    """Return the first candidates, as many as may be tried on such arguments."""
    if not candidates:
        return candidates
    g, x = candidates[0].geometry, args[0]
    pixels = math.prod(x.shape[2:])
    cost = len(x) * g.K * (g.C // g.groups) * g.taps * (pixels + 16)  # by them, and to make a kernel
    return candidates[: max(LEAST, BUDGET // cost)]


def _reason(tried: int, nearest: float) -> str:
    found = f"differs by {nearest:.1e} of its output's range" if math.isfinite(nearest) else "cannot run on its inputs"
    readings = "the canonical operator" if tried == 1 else f"the nearest of {tried} canonical operators"
    return f"it holds the parts, but computes something else: {readings} {found} (allowed: {TOLERANCE:.0e})"


def _function_behind(candidates: Sequence[DynamicOperator], answered: Sequence[tuple[Args, Tensor]]) -> str | None:
    """Return the function of a candidate's output that the module is; None where it is none of the usual ones."""
    if any(float(expected.min()) < -1 for _, expected in answered):
        return None  # none of them gives less, and another pass over all candidates takes long
    for one in candidates:
        left = set(BEHIND)
        for inputs, expected in answered:
            found = _output(one, inputs)
            near = () if found is None else [n for n in left if _relative(Activation(n)(found), expected) <= TOLERANCE]
            left &= set(near)
            if not left:
                break
        if left:
            return min(left)
    return None


def _is_followed(function: str) -> str:
    return f"it computes {function} of a dynamic convolution: with {function} outside of its forward it is recognised"


def _answered(subject: TriedModule, args: Args, period: int) -> list[tuple[Args, Tensor]]:
    """Return random arguments like ``args`` with the module's answers; none where it does not take small ones.

    Their sides are the real ones, or, with a period, small ones of the same remainder by it.
    """
    answered = []
    for scales in BATCHES:
        generator = torch.Generator().manual_seed(0)
        inputs = tuple(_random_like(arg, scales, generator, period) for arg in args)
        try:
            answered.append((inputs, subject.answer(inputs)))
        except OutsideError:
            if not period:
                raise
            return []
    return answered


def _random_like(arg: Tensor, scales: Sequence[float], generator: torch.Generator, period: int) -> Tensor:
    """Return a batch of random maps, or vectors, whose channels have means: poolings see more than noise."""
    shape = [len(scales), *arg.shape[1:]]
    if period:
        shape[2:] = [min(side, SMALL_SIDE + (side - SMALL_SIDE) % period) for side in shape[2:]]
    noise = torch.randn(shape, generator=generator, dtype=arg.dtype)
    means = torch.randn([*shape[:2], *[1 for _ in shape[2:]]], generator=generator, dtype=arg.dtype)
    scale = torch.tensor(scales, dtype=arg.dtype).view([-1, *[1 for _ in shape[1:]]])
    return scale * (noise + means)


def _difference(operator: DynamicOperator, answered: Sequence[tuple[Args, Tensor]]) -> float:
    """Return the largest difference, over the range of a sample's output, on the first inputs where it is too large."""
    worst = 0.0
    for inputs, expected in answered:
        found = _output(operator, inputs)
        worst = math.inf if found is None else max(worst, _relative(found, expected))
        if worst > TOLERANCE:
            return worst
    return worst


def _is_rounding(subject: TriedModule, operator: DynamicOperator, answered: Sequence[tuple[Args, Tensor]]) -> bool:
    """Whether an operator differs from the module by what roundings of its input, ten times as many, make of it."""
    for inputs, expected in answered:
        found, moved = _output(operator, inputs), subject.answer(disturbed(inputs))
        if found is None or not found.shape == moved.shape == expected.shape:
            return False
        limits = (TOLERANCE * _ranges(expected)).maximum(ROUNDINGS * _apart_by(moved, expected))
        if bool((_apart_by(found, expected) > limits).any()):
            return False
    return True


def _output(operator: DynamicOperator, inputs: Args) -> Tensor | None:
    """Return what an operator makes of its inputs; None where it takes no such."""
    try:
        y = CanonicalLayer(operator)(*inputs)
    except (RuntimeError, IndexError, ValueError, AssertionError):
        return None
    assert isinstance(y, Tensor)
    return y


def _relative(found: Tensor, expected: Tensor) -> float:
    if found.shape != expected.shape or not bool(found.isfinite().all()):
        return math.inf
    ranges = _ranges(expected)
    return float((_apart_by(found, expected) / ranges.clamp_min(torch.finfo(ranges.dtype).tiny)).max())


def _ranges(expected: Tensor) -> Tensor:
    """Return the range of each sample's output, or where its values are alike a part of them."""
    rows = expected.flatten(1)
    return (rows.amax(1) - rows.amin(1)).maximum(rows.abs().amax(1) * 1e-3)


def _apart_by(found: Tensor, expected: Tensor) -> Tensor:
    return (found - expected).flatten(1).abs().amax(1)
