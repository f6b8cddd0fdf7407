"""What adapters read from foreign modules: tensors, convolutions, norms, activations; told by what they hold and do.

Whatever is returned is a detached copy in float64 on the CPU, so that nothing is shared with the module.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from dcd_deploy.dynamic.attention import ACTIVATIONS, IDENTITY, Activation, Dense
from dcd_deploy.dynamic.copies import in_eval
from dcd_deploy.dynamic.folds import affine
from dcd_deploy.dynamic.operator import ConvGeometry, OutsideError, Pair

GROUPED_NORMS = (nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm)
NORMALISERS = (*GROUPED_NORMS, _NormBase)
SAME_ACTIVATION = 1e-12


def copied(tensor: Tensor) -> Tensor:
    """Return a detached copy in float64 on the CPU.

    Raises:
        OutsideError: the tensor has no values, or others than real numbers.
    """
    if is_lazy(tensor) or tensor.is_meta:
        raise OutsideError("its weights have no values yet (a lazy module, or the meta device)")
    if not tensor.is_floating_point() and (tensor.is_complex() or tensor.is_quantized):
        raise OutsideError(f"its weights are {tensor.dtype}: expected real numbers")
    return tensor.detach().to("cpu", torch.float64, copy=True)


def tensor_of(module: nn.Module, name: str) -> Tensor | None:
    """Return a copy of a parameter or buffer as the module uses it: a pruned one masked, a parametrised one made."""
    original, mask = getattr(module, f"{name}_orig", None), getattr(module, f"{name}_mask", None)
    if isinstance(original, Tensor) and isinstance(mask, Tensor):
        return copied(original) * copied(mask)
    if parametrize.is_parametrized(module, name):
        assert isinstance(module.parametrizations, nn.ModuleDict)
        value = in_eval(copy.deepcopy(module.parametrizations[name]))()  # some change their state in training mode
    else:
        value = getattr(module, name, None)
    return copied(value) if isinstance(value, Tensor) else None


def shapes_of(module: nn.Module) -> dict[str, torch.Size]:
    """Return the shapes of the parameters and buffers that the module itself holds, under the names that it uses."""
    own = dict([*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)])
    shapes = {name.removesuffix("_orig"): tensor.shape for name, tensor in own.items() if not is_lazy(tensor)}
    if parametrize.is_parametrized(module):
        assert isinstance(module.parametrizations, nn.ModuleDict)
        made = {name: tensor_of(module, name) for name in module.parametrizations}
        shapes |= {name: tensor.shape for name, tensor in made.items() if tensor is not None}
    masks = {f"{name.removesuffix('_orig')}_mask" for name in own if name.endswith("_orig")}
    return {name: shape for name, shape in shapes.items() if name not in masks}


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Return copies of the parameters and buffers that the module itself holds, as it uses them."""
    tensors = {name: tensor_of(module, name) for name in shapes_of(module)}
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def children_of(module: nn.Module) -> dict[str, nn.Module]:
    """Return the submodules that the module itself holds, without torch's own parametrisations."""
    return {name: child for name, child in module.named_children() if name != "parametrizations"}


def inside(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield what the module is made of, by path and in the order of registration: leaves, and whole activations."""
    children = children_of(module)
    if not children or activation_of(module) is not None:
        yield prefix, module
        return
    for name, child in children.items():
        yield from inside(child, f"{prefix}.{name}" if prefix else name)


def kind(module: nn.Module) -> str:
    """Return the name of a module's class with its article, for reasons."""
    name = type(module).__name__
    return f"an {name}" if name[0] in "AEIOU" else f"a {name}"


def is_dense(module: nn.Module) -> bool:
    """Whether the module is v ↦ W v + b on vectors: a Linear, or a 1×1 convolution of a pooled map."""
    if isinstance(module, nn.Linear):
        return True
    plain = isinstance(module, nn.Conv2d) and module.groups == 1 and module.padding in {(0, 0), "valid"}
    return plain and module.kernel_size == (1, 1)


def dense_sizes(module: nn.Module) -> Pair:
    """Return the outputs and inputs of a Linear or convolution."""
    if isinstance(module, nn.Linear):
        return module.out_features, module.in_features
    assert isinstance(module, _ConvNd)
    return module.out_channels, module.in_channels


def weight_of(module: nn.Module) -> Tensor:
    """Return the weight of a Linear or convolution."""
    weight = tensor_of(module, "weight")
    assert weight is not None
    return weight


def dense(module: nn.Module) -> Dense:
    """Return the Dense, without activation, of what ``is_dense`` told."""
    return Dense(weight_of(module).flatten(1), tensor_of(module, "bias"))


def is_norm(module: nn.Module) -> bool:
    """Whether the module normalises, by statistics that it keeps or by the data's."""
    return isinstance(module, NORMALISERS) or _keeps_statistics(module)


def _keeps_statistics(module: nn.Module) -> bool:
    statistics = (getattr(module, "running_mean", None), getattr(module, "running_var", None))
    return all(isinstance(one, Tensor) for one in statistics) and hasattr(module, "eps")


def norm_affine(name: str, module: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the scale and shift of a norm in eval mode.

    Raises:
        OutsideError: it has no statistics of its own.
    """
    if not _keeps_statistics(module):
        why = " that keeps no running statistics" if isinstance(module, _NormBase) else ""
        raise OutsideError(f"{name} is {kind(module)}{why}: it depends on the data")
    own = copy.deepcopy(module)
    for key, tensor in (*own.named_parameters(), *own.named_buffers()):
        if tensor.is_floating_point():
            setattr(own, key, nn.Parameter(copied(tensor)) if isinstance(tensor, nn.Parameter) else copied(tensor))
    scale, shift = affine(own)
    return scale.detach(), shift.detach()


def followed_by_norm(stage: Dense, scale: Tensor, shift: Tensor) -> Dense:
    """Return a Dense without activation with a norm behind it folded in."""
    bias = shift if stage.bias is None else scale * stage.bias + shift
    return replace(stage, weight=scale[:, None] * stage.weight, bias=bias)


def is_activation(module: nn.Module) -> bool:
    """Whether the module is a function without weights that acts on a vector as one of ours does."""
    return activation_of(module) is not None


def activation_of(module: nn.Module) -> Activation | None:
    """Return what a module without weights computes, told by trying it; None where it is none of ours.

    Dropout and flattening are the identity.
    """
    if next(module.parameters(), None) is not None or isinstance(module, NORMALISERS):
        return None
    v = torch.linspace(-8, 8, 161, dtype=torch.float64)[None]
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            y = in_eval(copy.deepcopy(module))(v.clone())
    except Exception:  # noqa: BLE001 - a foreign module may fail in any way, and is no activation then
        return None
    if not isinstance(y, Tensor) or y.shape != v.shape or y.dtype != v.dtype:
        return None
    return next((one for one in map(functools.partial(_scaled_to, y, v), ACTIVATIONS) if one is not None), None)


def _scaled_to(y: Tensor, v: Tensor, name: str) -> Activation | None:
    plain = Activation(name)(v)
    gain = float((y * plain).sum() / (plain * plain).sum())
    if abs(gain - round(gain, 9)) < SAME_ACTIVATION:
        gain = round(gain, 9)
    same = float((y - gain * plain).abs().max()) <= SAME_ACTIVATION * max(1.0, float(plain.abs().max()))
    if not same or gain == 0.0:
        return None
    return IDENTITY if name == "identity" and gain == 1.0 else Activation(name, gain)


def pair(value: object) -> Pair | None:
    """Return an integer, or a sequence of one or two, as rows and columns."""
    values = value if isinstance(value, (tuple, list)) else (value,)
    numbers = [one for one in values if isinstance(one, int) and not isinstance(one, bool)]
    return (numbers[0], numbers[-1]) if len(numbers) == len(values) in (1, 2) else None


def conv_geometry(name: str, conv: nn.Module) -> ConvGeometry:
    """Return the geometry of a 2-D convolution.

    Raises:
        OutsideError: it is transposed, not 2-D, or its padding is not the same on both sides.
    """
    if not isinstance(conv, nn.Conv2d):
        raise OutsideError(f"{name} is {kind(conv)}: the canonical operator is a 2-D convolution")
    kernel, dilation = pair(conv.kernel_size), pair(conv.dilation)
    stride = pair(conv.stride)
    assert kernel is not None
    assert dilation is not None
    assert stride is not None
    return ConvGeometry(
        C=conv.in_channels,
        K=conv.out_channels,
        kernel=kernel,
        stride=stride,
        padding=same_padding(name, kernel, dilation) if conv.padding == "same" else pair(conv.padding) or (0, 0),
        dilation=dilation,
        groups=conv.groups,
        padding_mode=conv.padding_mode,
    )


def same_padding(name: str, kernel: Pair, dilation: Pair) -> Pair:
    """Return the padding that keeps the size of a map at stride 1, where it is the same on both sides."""
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if any(t % 2 for t in total):
        raise OutsideError(f"{name} pads {total[0]} rows and {total[1]} columns in all: not the same on both sides")
    return total[0] // 2, total[1] // 2
