"""A user's module as a float64 copy in eval mode on the CPU.

The user's own module is left as it is. What had to be changed on the copy is said in notes.
"""

from __future__ import annotations

import copy
import dis
from collections.abc import Iterator
from types import CellType, FunctionType, MethodType

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from dcd_deploy.dynamic.copies import settled_in, unseen_in
from dcd_deploy.errors import CaptureError
from dcd_deploy.lowering.failure import first_line


def float64_copy(module: nn.Module) -> tuple[nn.Module, list[str]]:
    """Return a float64 copy in eval mode on the CPU, and what that changed.

    Raises:
        CaptureError: it is no module of Python in floating point, has no weights yet, or cannot be copied.
    """
    _check_python(module)
    _check_forwards(module)
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
        ready = settled_in(_uncompiled(copy.deepcopy(module, unseen_in(module, torch.float64))), torch.float64)
    except Exception as error:  # whatever a user's own __deepcopy__ raises, or torch of tensors with a history
        raise CaptureError(
            f"the module cannot be copied: {first_line(error)}; run it once under torch.no_grad(), or remove what "
            "holds a graph"
        ) from error
    for tensor in (*ready.parameters(), *ready.buffers()):
        tensor.detach_()  # a buffer may have been made of a parameter
    return ready, notes


def _check_python(module: nn.Module) -> None:
    """Raise CaptureError where a part of the module is no Python that can be followed, or computes in integers."""
    for path, part in module.named_modules():
        where = f"'{path}', a {type(part).__name__}" if path else f"a {type(part).__name__}"
        if isinstance(part, torch.jit.ScriptModule):
            raise CaptureError(
                expected="a module of Python", found=where, advice="pass the module that TorchScript was made from"
            )
        if type(part).__module__.startswith(("torch.ao.", "torchao.")):
            raise CaptureError(
                expected="a network in floating point",
                found=f"{where}, of a network that was prepared for quantisation",
                advice="pass the network before that; `precision` int8 quantises it",
            )


def _check_forwards(module: nn.Module) -> None:
    """Raise CaptureError where a forward that was put on a part, not its class, holds on to this very module.

    deepcopy leaves functions as they are: the copy would run the layers of the original, in float32 and as they are.
    """
    parts = dict.fromkeys(map(id, module.modules()))
    for path, part in module.named_modules():
        forward = vars(part).get("forward") if _original(part) is part else None  # torch.compile's is taken off
        if isinstance(forward, FunctionType) and any(id(held) in parts for held in _held(forward, set())):
            where = f"'{path}', a {type(part).__name__}," if path else f"a {type(part).__name__}"
            raise CaptureError(
                expected="a module whose forward is its class's",
                found=f"{where} with a function in its place that holds on to the module, which no copy can follow",
                advice="write it as the forward of a class, or as types.MethodType(function, module) that takes self",
            )


def _held(function: FunctionType, seen: set[int]) -> Iterator[nn.Module]:
    """Yield the modules that a function reads from where it was written, or whose methods it calls from there."""
    seen.add(id(function))
    names = {each.argval for each in dis.get_instructions(function) if each.opname == "LOAD_GLOBAL"}
    values = [function.__globals__[name] for name in names if name in function.__globals__]
    values += [cell.cell_contents for cell in function.__closure__ or () if cell != CellType()]  # an empty one raises
    for value in values:
        owner = getattr(value, "__self__", value) if isinstance(value, MethodType) else value
        if isinstance(owner, nn.Module):
            yield owner
        elif isinstance(owner, FunctionType) and id(owner) not in seen:
            yield from _held(owner, seen)


def _uncompiled(module: nn.Module) -> nn.Module:
    """Return a module with what torch.compile or DataParallel was given in place of what it made, in place."""
    for parent in list(module.modules()):
        for name, part in list(parent.named_children()):
            setattr(parent, name, _original(part))
    return _original(module)


def _original(module: nn.Module) -> nn.Module:
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return _original(module.module)
    original = getattr(module, "_orig_mod", None)
    compiled = type(module).__module__.startswith("torch._dynamo.")
    return original if compiled and isinstance(original, nn.Module) else module
