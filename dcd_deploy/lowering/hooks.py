"""Hooks and parametrisations of a module that is to be captured.

Pruning, weight norm and spectral norm compute a weight before each call, in a hook or in a parametrisation; in eval
mode it is a constant, which is kept. A hook that only looks on (logging) goes. One that changes an output, or notes
what forward reads (feature maps), stays, and is followed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dcd_deploy.dynamic.float64 import InFloat64
from dcd_deploy.errors import CaptureError
from dcd_deploy.lowering.outputs import flat

SAME, FLOAT32 = 1e-12, 1e-2  # of an output's range
HOOKED = (
    "its forward hooks may write to what they were made with, and not to the copy that is run: put them on in forward"
)


def without_hooks(module: nn.Module, examples: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> list[str]:
    """Take hooks and parametrisations off a module that has just been run, and say so.

    Hooks that change an output, or note what forward reads, are left on, and followed.
    """
    hooked = {path: part for path, part in module.named_modules() if part._forward_hooks or part._forward_pre_hooks}  # noqa: SLF001 - there is no public question
    kept = {path: (dict(part._forward_hooks), _own(part._forward_pre_hooks)) for path, part in hooked.items()}  # noqa: SLF001
    if hooked:  # so that what they noted is not that of the example
        _answers(module, tuple(each.roll(1, -1) + 1 for each in examples))
    for part in list(module.modules()):
        _settle(part)
    if not hooked:
        return []
    named = ", ".join(path or "the module" for path in hooked)
    if _are_same(_answers(module, examples), outputs):
        return [f"forward hooks were left out, which change no output: {named}"]
    for path, part in hooked.items():
        part._forward_hooks.update(kept[path][0])  # noqa: SLF001
        part._forward_pre_hooks.update(kept[path][1])  # noqa: SLF001
    return [f"forward hooks are part of what it computes, and were followed: {named}"]


def has_hooks(module: nn.Module) -> bool:
    """Whether a submodule has forward hooks."""
    return any(part._forward_hooks for part in module.modules())  # noqa: SLF001


def check_hooks(module: nn.Module, ready: nn.Module, examples: tuple[Tensor, ...]) -> None:
    """Raise where the hooks of a copy note nothing, since they write to the module that was copied.

    A module in training mode, which computes otherwise, is believed.
    """
    if any(part.training for part in module.modules()):
        return
    others = tuple(each.roll(1, -1) + 1 for each in examples)
    try:
        with torch.no_grad():
            own = tuple(each.double() for each in flat(module(*(each.float() for each in others))).values())
    except Exception:  # noqa: BLE001 - it is on another device, or of another precision
        return
    if not _are_same(_answers(ready, others), own, FLOAT32):
        raise CaptureError(f"a copy of the module computes something else; {HOOKED}")


def _own(hooks: Mapping[int, Any]) -> dict[int, Any]:
    """Return the hooks that are not torch's, whose weights ``_settle`` makes parameters."""
    return {key: hook for key, hook in hooks.items() if not type(hook).__module__.startswith("torch.nn.utils")}


def _answers(module: nn.Module, examples: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    """Return the outputs for some examples; None where the module does not run on them."""
    try:
        with torch.no_grad(), InFloat64():
            return tuple(flat(module(*examples)).values())
    except Exception:  # noqa: BLE001 - whatever a module raises whose hooks noted nothing
        return None


def _are_same(found: tuple[Tensor, ...] | None, outputs: tuple[Tensor, ...], limit: float = SAME) -> bool:
    """Whether outputs are those of the trained network, as far as its precision tells."""
    if found is None or [each.shape for each in found] != [each.shape for each in outputs]:
        return False
    spreads = [float(before.max() - before.min()) or 1.0 for before in outputs]
    return all(
        float((now - before).abs().max()) <= limit * spread
        for now, before, spread in zip(found, outputs, spreads, strict=True)
    )


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
