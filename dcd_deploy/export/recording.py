"""Two lines in the code that trained a network, and every export can be checked against what that network answers.

import dcd_deploy
dcd_deploy.record_reference(network, images, "pairs.npz")

dcd-deploy export model_best.pth.tar --reference pairs.npz
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor, nn

from dcd_deploy.errors import OptionError
from dcd_deploy.files import write_whole

Array = NDArray[np.floating]


def record_reference(module: nn.Module, inputs: Tensor | tuple[Tensor, ...], path: str | os.PathLike[str]) -> Path:
    """Write what ``module`` answers, in eval mode, to ``inputs`` (N, …), one tensor or one for each argument.

    A few dozen real samples are enough. The module's modes are as before afterwards; it runs where its parameters
    are, without autocast and TF32, which would leave answers too coarse to tell networks apart. Outputs may be a
    tensor, or a tuple, list or dict of tensors. The file is written whole or not at all.

    Raises:
        OptionError: the inputs or outputs are something else than tensors with as many entries, and no constants.
        OutputError: the file cannot be written.
    """
    if not isinstance(module, nn.Module):
        raise OptionError(expected="a torch.nn.Module to record", found=type(module).__name__)
    given = inputs if isinstance(inputs, tuple) else (inputs,)
    arrays = {f"input_{i}" if i else "input": _array(f"input {i}", value) for i, value in enumerate(given)}
    with torch.no_grad(), _as_deployed(module):
        answers = _named(module(*_placed(module, given)))
        constant = {name for name, value in answers.items() if _is_constant(name, value, module, given)}
    if clash := arrays.keys() & answers.keys():
        raise OptionError(
            expected="outputs with names of their own", found=f"one called '{min(clash)}'", advice="rename it"
        )
    arrays |= {name: _array(f"output '{name}'", value) for name, value in answers.items()}
    arrays |= {name: np.repeat(arrays[name], len(given[0]), axis=0) for name in constant}
    counts = {name: len(values) for name, values in arrays.items()}
    if len(set(counts.values())) != 1 or 0 in counts.values():
        raise OptionError(expected="as many entries in every input and output", found=counts)
    write_whole(Path(path), _archive(arrays))
    return Path(path)


def _is_constant(name: str, value: object, module: nn.Module, inputs: tuple[Tensor, ...]) -> bool:
    """Whether an output is one array for all inputs, as a detector's anchors are: the last input alone gives it too."""
    if not isinstance(value, Tensor) or not value.ndim or len(value) != 1 or len(inputs[0]) == 1:
        return False
    last = _named(module(*_placed(module, tuple(each[-1:] for each in inputs))))[name]
    return isinstance(last, Tensor) and torch.equal(value, last)


def _archive(arrays: Mapping[str, Array]) -> bytes:
    """Return an .npz file; numpy's own function would take an array called "file" for its argument."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                npy.write_array(file, np.ascontiguousarray(values), allow_pickle=False)
    return content.getvalue()


def _placed(module: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Return the inputs, as float32 has them, where the module's parameters are and in their precision."""
    weight = next((w for w in module.parameters() if w.is_floating_point()), torch.zeros(0))
    return [value.detach().float().to(weight) for value in inputs]


def _named(result: object) -> dict[str, object]:
    if isinstance(result, Mapping):
        return {str(name): value for name, value in result.items()}
    if isinstance(result, tuple | list) and len(result) != 1:
        return {f"output_{i}": value for i, value in enumerate(result)}
    return {"output": result[0] if isinstance(result, tuple | list) else result}


def _array(what: str, value: object) -> Array:
    if not isinstance(value, Tensor) or not value.is_floating_point() or not value.ndim:
        found = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise OptionError(expected=f"{what} as a tensor (N, …) of floating point", found=found)
    values = value.detach().cpu()
    values = (
        values if values.dtype in (torch.float16, torch.float64) and not what.startswith("input") else values.float()
    )
    if not bool(torch.isfinite(values).all()):
        raise OptionError(expected="finite numbers", found=f"NaN or infinity in {what}")
    array: Array = values.contiguous().numpy()
    return array


@contextmanager
def _as_deployed(module: nn.Module) -> Iterator[None]:
    """Eval mode and full float32 while the block runs; everything as it was afterwards."""
    modes = [(each, each.training) for each in module.modules()]
    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    coarse = [backend.allow_tf32 for backend in backends]
    kinds = {weight.device.type for weight in module.parameters()} | {"cpu"}
    contexts = [torch.autocast(kind, enabled=False) for kind in sorted(kinds) if torch.amp.is_autocast_available(kind)]
    try:
        module.eval()
        for backend in backends:
            backend.allow_tf32 = False
        with ExitStack() as stack:
            for context in contexts:
                stack.enter_context(context)
            yield
    finally:
        for backend, before in zip(backends, coarse, strict=True):
            backend.allow_tf32 = before
        for each, mode in modes:
            each.training = mode
