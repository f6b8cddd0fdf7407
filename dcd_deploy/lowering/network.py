"""A user's module made ready: a float64 copy in eval mode on the CPU, its example, and names for what goes in and out.

The user's own module is left as it is. What had to be changed on the copy is said in ``notes``.

Pruning, weight norm and spectral norm compute a weight before each call, in a hook or in a parametrisation; in eval
mode it is a constant, which is kept. A hook that only looks on (logging, feature maps) may go. One that changes what
its module gives would be lost in silence, and is refused.
"""

from __future__ import annotations

import copy
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from dcd_deploy.dynamic.depthwise import QuickDepthwise
from dcd_deploy.errors import CaptureError

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
    if not isinstance(key, str) or not key:
        raise CaptureError(
            expected="outputs with names", found=f"the key {key!r}", advice="use texts as the dict's keys"
        )
    return key


SAME = 1e-12  # of an output's range


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
    with torch.no_grad():
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
        for name in list(part.parametrizations):  # type: ignore[arg-type]  # a ModuleDict
            parametrize.remove_parametrizations(part, name, leave_parametrized=True)
    for name in ("weight", "bias"):
        if isinstance(value := vars(part).get(name), Tensor):
            delattr(part, name)
            part.register_parameter(name, nn.Parameter(value.detach().clone(), requires_grad=False))


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

    def run(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs in the order of their names."""
        with torch.no_grad(), QuickDepthwise():
            return tuple(flat(self.module(*inputs), self.alone).values())


def network_of(module: nn.Module, example: Tensor | Sequence[Tensor], alone: str = OUTPUT) -> Network:
    """Make a module ready; ``example`` is its input, or a tuple of its inputs; ``alone`` names a nameless output.

    Raises:
        CaptureError: it is no module, does not run on the example, or gives something else than tensors.
    """
    if not isinstance(module, nn.Module):
        raise CaptureError(expected="a torch.nn.Module", found=type(module).__name__, advice="pass the network itself")
    examples = _examples(example)
    ready, notes = _ready(module)
    doubles = tuple(e.detach().cpu().double() if e.is_floating_point() else e.detach().cpu() for e in examples)
    outputs = flat(_first_run(ready, doubles), alone)
    notes += without_hooks(ready, doubles, tuple(outputs.values()))
    names = (INPUT, *(f"{INPUT}_{i}" for i in range(1, len(doubles))))
    return Network(ready, doubles, names, tuple(outputs), tuple(notes), alone)


def _examples(example: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    several = tuple(example) if isinstance(example, tuple | list) else ()
    examples = (example,) if isinstance(example, Tensor) else several
    if not examples or not all(isinstance(one, Tensor) for one in examples):
        raise CaptureError("expected a tensor, or a tuple of tensors, as the network's example; found something else")
    return examples


def _ready(module: nn.Module) -> tuple[nn.Module, list[str]]:
    """Return a float64 copy in eval mode on the CPU, and what that changed."""
    notes = []
    if lazy := next((name for name, tensor in module.named_parameters() if is_lazy(tensor)), None):
        raise CaptureError(
            expected="a module that knows its shapes", found=f"the lazy '{lazy}'", advice="run it once before"
        )
    if any(part.training for part in module.modules()):
        notes.append("the module is in training mode; its eval form is exported")
    tensors = [*module.parameters(), *module.buffers()]
    kinds = {t.dtype for t in tensors if t.is_floating_point()} - {torch.float32, torch.float64}
    if kinds:
        notes.append(f"weights of {', '.join(sorted(map(str, kinds)))} are taken as they are, and written as float32")
    if devices := {t.device.type for t in tensors} - {"cpu"}:
        notes.append(f"the weights were copied from {', '.join(sorted(devices))}")
    if "meta" in devices:
        raise CaptureError(
            expected="a module with weights", found="one on the device 'meta'", advice="load its weights first"
        )
    try:
        ready = copy.deepcopy(module, _detached(module)).cpu().double().eval()
    except Exception as error:  # whatever a user's own __deepcopy__ raises, or torch of tensors with a history
        raise CaptureError(
            f"the module cannot be copied: {first_line(error)}; run it once under torch.no_grad(), or remove what "
            "holds a graph"
        ) from error
    for parameter in ready.parameters():
        parameter.requires_grad_(False)  # noqa: FBT003 - torch's own signature
    return ready, notes


def _detached(module: nn.Module) -> dict[int, object]:
    """Return copies of tensors that are plain attributes, which deepcopy refuses where they have a history."""
    plain = [value for part in module.modules() for value in vars(part).values() if isinstance(value, Tensor)]
    return {id(value): value.detach().clone() for value in plain}


def _first_run(module: nn.Module, examples: tuple[Tensor, ...]) -> object:
    try:
        with torch.no_grad(), QuickDepthwise():
            return module(*examples)
    except Exception as error:  # whatever a user's module raises
        shapes = ", ".join(str(tuple(one.shape)) for one in examples)
        raise CaptureError(
            f"the module does not run on an example of shape {shapes}{at(module, error)}: {first_line(error)}; "
            "check the example's channels, size and number of tensors"
        ) from error


def at(module: nn.Module, error: BaseException) -> str:
    """Return " (in 'path')": the innermost submodule that an error passed through."""
    names = {id(part): name for name, part in module.named_modules()}
    found = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        found = names.get(id(frame.f_locals.get("self")), "") or found
    return f" (in '{found}')" if found else ""


def first_line(error: BaseException) -> str:
    """Return the first line of a message, cut."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
