"""The module that a proof is about: a copy in float64 and eval mode, which must be steady and stay the same."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dcd_deploy.dynamic.copies import copied_in
from dcd_deploy.dynamic.operator import OutsideError

STEADY = 1e-12  # of the output's range: sums of several threads may differ in their order
TORCHS_OWN = "torch.nn.utils."  # hooks that make a weight before each call: pruning, weight and spectral norm

Args = tuple[Tensor, ...]


class TriedModule:
    """A copy of a module, for trying it; refuses in words what a proof by trying cannot judge."""

    def __init__(self, module: nn.Module) -> None:
        check_hooks(module)
        self.module = float64_copy(module)
        self._before = self._state()

    def answer(self, args: Args) -> Tensor:
        """Return the module's output.

        Raises:
            OutsideError: it fails, or answers with something else than one tensor of finite numbers for each sample.
        """
        try:
            y = self.module(*[arg.clone() for arg in args])
        except Exception as error:
            sizes = " and ".join(str(tuple(arg.shape)) for arg in args)
            first = str(error).splitlines()[0] if str(error) else ""
            raise OutsideError(f"it fails on {sizes} in float64: {type(error).__name__}: {first}"[:300]) from error
        if not isinstance(y, Tensor):
            raise OutsideError(f"its output is a {type(y).__name__}: expected one tensor")
        if y.dtype != torch.float64:
            raise OutsideError(f"its output is {y.dtype} for float64: it computes in a precision of its own")
        if y.dim() < 2 or len(y) != len(args[0]):
            raise OutsideError(f"its output has shape {tuple(y.shape)} for {len(args[0])} samples")
        if not bool(y.isfinite().all()):
            raise OutsideError("its output is not finite")
        return y

    def check_steady(self, args: Args, answer: Tensor) -> None:
        """Raise OutsideError where the module answers the same arguments otherwise the second time."""
        again = self.answer(args)
        if again.shape != answer.shape or float((again - answer).abs().max()) > STEADY * float(answer.abs().max()):
            raise OutsideError("its forward is random, or changes its state: the same input gives another output")

    def check_unchanged(self) -> None:
        """Raise OutsideError where a parameter, buffer or number of the module changed while it ran."""
        after = self._state()
        for path, value in self._before.items():
            other = after.get(path)
            if type(value) is not type(other) or not _same(value, other):
                raise OutsideError(f"its forward changes its own '{path}'")

    def _state(self) -> dict[str, object]:
        state: dict[str, object] = {path: float(one.sum()) for path, one in self.module.named_parameters()}
        state |= {path: one.clone() for path, one in self.module.named_buffers()}
        for name, part in self.module.named_modules():
            for key, value in vars(part).items():
                if isinstance(value, (bool, int, float)):
                    state[f"{name}.{key}" if name else key] = value
        return state


def _same(a: object, b: object) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.equal(a, b)
    return a == b


def check_hooks(module: nn.Module) -> None:
    """Raise OutsideError where somebody's hooks run with the module's parts, or change its inputs.

    A forward hook of the module itself is followed where the module is called (``lowering.capture``).
    """
    for name, part in module.named_modules():
        behind = part._forward_hooks.values() if name else ()  # noqa: SLF001 - torch has no other
        for hook in (*behind, *part._forward_pre_hooks.values()):  # noqa: SLF001
            if not type(hook).__module__.startswith(TORCHS_OWN):
                where = f"its part '{name}'" if name else "it"
                called = getattr(hook, "__qualname__", type(hook).__name__)
                raise OutsideError(f"{where} has a forward hook, {called}: remove the hook before the export")


def float64_copy(module: nn.Module) -> nn.Module:
    """Return a copy in float64 and eval mode, on the CPU, that shares no tensor with the module.

    Raises:
        OutsideError: the module cannot be copied.
    """
    try:
        return copied_in(module, torch.float64)
    except Exception as error:
        raise OutsideError(f"it cannot be copied: {type(error).__name__}: {error}"[:300]) from error
