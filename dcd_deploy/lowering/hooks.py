"""Hooks and parametrisations: what they leave in the weights is kept, and the rest dropped if it changes nothing.

Pruning, weight norm and spectral norm compute a weight before each call, in a hook or in a parametrisation; in eval
mode it is a constant. A hook that only looks on (logging, feature maps) may go. One that changes what its module gives
would be lost in silence, and is refused.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dcd_deploy.errors import CaptureError
from dcd_deploy.lowering.outputs import flat

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
