"""A user's module made ready: its float64 copy, its example, and names for what goes in and out.

Pruning, weight norm and spectral norm compute a weight before each call, in a hook or in a parametrisation; in eval
mode it is a constant, which is kept. A hook that only looks on (logging, feature maps) may go. One that changes what
its module gives would be lost in silence, and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dcd_deploy.dynamic.float64 import InFloat64
from dcd_deploy.dynamic.operator import DynamicOperator
from dcd_deploy.dynamic.recognise import recognise
from dcd_deploy.errors import CaptureError, WeightValueError
from dcd_deploy.lowering.failure import at, first_line
from dcd_deploy.lowering.float64_copy import float64_copy
from dcd_deploy.lowering.squeezed_batch import NOTE as SQUEEZED
from dcd_deploy.lowering.squeezed_batch import with_batch

OUTPUT = "output"


def flat(result: object, alone: str = OUTPUT) -> dict[str, Tensor]:
    """Return the tensors of an output under their names: the keys of dicts, else ``alone``, or "output_0" and on.

    Raises:
        CaptureError: there is something else than tensors in it, or two of them get one name.
    """
    if isinstance(result, tuple | list) and len(result) == 1:
        (result,) = result
    leaves = [(alone, result)] if isinstance(result, Tensor) else _leaves(result, ())
    found = dict(leaves)
    if len(found) < len(leaves):
        names = [name for name, _ in leaves]
        twice = next(name for name in names if names.count(name) > 1)
        raise CaptureError(
            expected="outputs with names of their own", found=f"two called '{twice}'", advice="rename one"
        )
    if not found:
        raise CaptureError(expected="a network that returns tensors", found="one that returns none")
    for name, value in found.items():
        if not value.is_floating_point():
            raise CaptureError(
                expected=f"output '{name}' of the network as a tensor of floating point",
                found=value.dtype,
                advice="return what it was computed from",
            )
    return found


def _leaves(value: object, path: tuple[str, ...]) -> list[tuple[str, Tensor]]:
    """Return (name, tensor) for each tensor in nested tuples, lists and dicts; None is passed over."""
    if isinstance(value, Tensor):
        named = path if path and not path[0].isdigit() else (OUTPUT, *path)
        return [("_".join(named), value)]
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [leaf for key, one in value.items() for leaf in _leaves(one, (*path, _name(key)))]
    if isinstance(value, tuple | list):
        return [leaf for i, one in enumerate(value) for leaf in _leaves(one, (*path, str(i)))]
    where = f" at '{'_'.join(path)}'" if path else ""
    raise CaptureError(
        expected="tensors as the network's outputs (or tuples, lists and dicts of them)",
        found=f"{type(value).__name__}{where}",
        advice="wrap the network in a module that returns tensors",
    )


def _name(key: object) -> str:
    """Return a name for what stands at a key of a dict: ("disp", 0) is "disp_0"."""
    if isinstance(key, tuple) and key:
        return "_".join(map(_name, key))
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    if not isinstance(key, str) or not key:
        raise CaptureError(
            expected="outputs with names",
            found=f"the key {key!r}",
            advice="use texts, whole numbers, or tuples of them, as the dict's keys",
        )
    return key


SAME = 1e-12  # of an output's range
DOUBLE = re.compile(r"\bdouble\b", re.IGNORECASE)
UNSEEN = (
    "it is run in float64, and layers or tensors in plain lists stay as they are: use nn.ModuleList, register_buffer"
)
FITTING = "check the example's channels, size and number of tensors"


def without_hooks(module: nn.Module, examples: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> list[str]:
    """Take hooks and parametrisations off a module that has just been run, and say so.

    Raises:
        CaptureError: without its hooks it computes something else.
    """
    hooked = [path for path, part in module.named_modules() if part._forward_hooks or part._forward_pre_hooks]  # noqa: SLF001 - there is no public question
    for part in list(module.modules()):
        _settle(part)
    if not hooked:
        return []
    with torch.no_grad(), InFloat64():
        found = flat(module(*examples)).values()
    for now, before in zip(found, outputs, strict=True):
        spread = float(before.max() - before.min()) or 1.0
        if not float((now - before).abs().max()) <= SAME * spread:
            raise CaptureError(
                f"the forward hooks of '{hooked[0] or 'the module'}' change what it computes, which no file can hold; "
                "remove them, or put what they do into forward"
            )
    return [
        f"forward hooks were left out, which change no output: {', '.join(path or 'the module' for path in hooked)}"
    ]


def _settle(part: nn.Module) -> None:
    """Drop the hooks of a module, and make parameters of the weights that they or its parametrisations computed."""
    part._forward_hooks.clear()  # noqa: SLF001
    part._forward_pre_hooks.clear()  # noqa: SLF001
    if parametrize.is_parametrized(part):
        _without_parametrizations(part)
    for name in ("weight", "bias"):
        if isinstance(value := vars(part).get(name), Tensor):
            delattr(part, name)
            part.register_parameter(name, nn.Parameter(value.detach().clone(), requires_grad=False))


def _without_parametrizations(part: nn.Module) -> None:
    """Make parameters of the values, and a module of its own class of it.

    torch's own function takes the names off the class, which is that of the user's module too.
    """
    names = list(part.parametrizations)  # type: ignore[arg-type]  # a ModuleDict
    values = {name: getattr(part, name).detach().clone() for name in names}
    del part.parametrizations
    part.__class__ = type(part).__mro__[1]
    for name, value in values.items():
        part.register_parameter(name, nn.Parameter(value, requires_grad=False))


INPUT = "input"


@dataclass(frozen=True)
class Network:
    """``module`` is float64, in eval mode, on the CPU; so are ``examples``, one tensor for each input."""

    module: nn.Module
    examples: tuple[Tensor, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    notes: tuple[str, ...] = ()
    alone: str = OUTPUT  # what an output is called that is the only one and has no name

    @cached_property
    def answers(self) -> tuple[Tensor, ...]:
        """Its outputs for its examples."""
        return self.run(*self.examples)

    def run(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs in the order of their names."""
        with torch.no_grad(), InFloat64():
            return tuple(flat(self.module(*inputs), self.alone).values())


class OneLayer(nn.Module):
    """A dynamic layer that is the whole network, so that it has a path in it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, operand: Tensor | None = None) -> Tensor:
        y: Tensor = self.layer(x) if operand is None else self.layer(x, operand)
        return y


def network_of(module: nn.Module, example: Tensor | Sequence[Tensor], alone: str = OUTPUT) -> Network:
    """Make a module ready; ``example`` is its input, or a tuple of its inputs; ``alone`` names a nameless output.

    Raises:
        CaptureError: it is no module, does not run on the example, or gives something else than tensors.
    """
    if not isinstance(module, nn.Module):
        raise CaptureError(expected="a torch.nn.Module", found=type(module).__name__, advice="pass the network itself")
    examples = _examples(example)
    ready, notes = float64_copy(module)
    doubles = tuple(e.detach().cpu().double() if e.is_floating_point() else e.detach().cpu() for e in examples)
    outputs = flat(_first_run(ready, doubles), alone)
    _check_finite(ready, outputs)
    notes += without_hooks(ready, doubles, tuple(outputs.values()))
    if with_batch(ready, doubles, list(outputs.values())):
        notes.append(SQUEEZED)
        outputs = flat(_first_run(ready, doubles), alone)
    if isinstance(recognise(ready, doubles), DynamicOperator):
        ready = OneLayer(ready)
    names = (INPUT, *(f"{INPUT}_{i}" for i in range(1, len(doubles))))
    network = Network(ready, doubles, names, tuple(outputs), tuple(notes), alone)
    vars(network)["answers"] = tuple(outputs.values())  # where ``cached_property`` looks: it has just been run
    return network


def _examples(example: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    several = tuple(example) if isinstance(example, tuple | list) else ()
    examples = (example,) if isinstance(example, Tensor) else several
    if not examples or not all(isinstance(one, Tensor) for one in examples):
        raise CaptureError("expected a tensor, or a tuple of tensors, as the network's example; found something else")
    for whole in (one for one in examples if not one.is_floating_point()):
        raise CaptureError(
            expected="inputs of floating point, as files have them",
            found=f"an example of {whole.dtype}, of shape {tuple(whole.shape)}",
            advice="compute what is looked up by numbers or masks in the app, or take floating point and turn it into "
            "them in forward",
        )
    return examples


def _check_finite(module: nn.Module, outputs: Mapping[str, Tensor]) -> None:
    """Raise where an output is no finite number: WeightValueError if a weight is none, else CaptureError."""
    name = next((name for name, values in outputs.items() if not bool(torch.isfinite(values).all())), None)
    if name is None:
        return
    for path, weight in module.named_parameters():
        if not bool(torch.isfinite(weight).all()):
            raise WeightValueError(
                f"expected finite weights, found NaN or infinity in '{path}'; train or load it again"
            )
    raise CaptureError(
        expected="finite outputs for the example",
        found=f"NaN or infinity in '{name}'",
        advice="look for a logarithm, root or quotient that leaves its domain",
    )


def _first_run(module: nn.Module, examples: tuple[Tensor, ...]) -> object:
    try:
        with torch.no_grad(), InFloat64():
            return module(*examples)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a user's module raises
        shapes = ", ".join(str(tuple(one.shape)) for one in examples)
        raise CaptureError(
            f"the module does not run on an example of shape {shapes}{at(module, error)}: {first_line(error)}; "
            f"{UNSEEN if DOUBLE.search(str(error)) else FITTING}"
        ) from error
