"""A user's module made ready: its float64 copy, its example, and names for what goes in and out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from dcd_deploy.dynamic.float64 import InFloat64
from dcd_deploy.dynamic.operator import DynamicOperator
from dcd_deploy.dynamic.recognise import recognise
from dcd_deploy.errors import CaptureError, WeightValueError
from dcd_deploy.lowering.failure import at, first_line
from dcd_deploy.lowering.float64_copy import float64_copy
from dcd_deploy.lowering.hooks import HOOKED, check_hooks, has_hooks, without_hooks
from dcd_deploy.lowering.outputs import OUTPUT, flat
from dcd_deploy.lowering.squeezed_batch import NOTE as SQUEEZED
from dcd_deploy.lowering.squeezed_batch import with_batch

DOUBLE = re.compile(r"\bdouble\b", re.IGNORECASE)
UNSEEN = (
    "it is run in float64, and layers or tensors in plain lists stay as they are: use nn.ModuleList, register_buffer"
)
FITTING = "check the example's channels, size and number of tensors"


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
    if has_hooks(ready):
        check_hooks(module, ready, doubles)
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
            f"{UNSEEN if DOUBLE.search(str(error)) else HOOKED if has_hooks(module) else FITTING}"
        ) from error
