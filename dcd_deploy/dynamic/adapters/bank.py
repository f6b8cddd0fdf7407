"""The kernels of a mixture, Σ_m π_m W_m, and the convolution that they are of; what the parts leave open, as choices.

Kernels: a tensor (M, K, C/groups, kh, kw), or (M, K, C/groups·kh·kw) with the kernel's size in integers, 1×1 without;
one flat for each kernel, (M, K·C/groups·kh·kw), with the sizes in integers or in a tuple that ends with (K, C/groups,
kh, kw); a list or dict of M kernels, or of M convolutions of one geometry, each by itself or in a module that holds
nothing else; M such convolutions as children of their own, beside an attention; one weight (M·K, C/groups, kh, kw)
beside an attention that gives M shares, in either order of M and K.
Where padding adds more behind than in front, the kernels get taps of zeros in front.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.dynamic.adapters.parts import (
    activation_of,
    children_of,
    conv_geometry,
    dense_sizes,
    inside,
    is_dense,
    shapes_of,
    tensor_of,
    tensors_of,
    weight_of,
)
from dcd_deploy.dynamic.adapters.settings import (
    DILATION,
    KERNEL,
    OUTPUTS,
    PADDING,
    STRIDE,
    Sides,
    convolutions,
    pair_named,
)
from dcd_deploy.dynamic.attention import IDENTITY
from dcd_deploy.dynamic.operator import ConvGeometry

MOST_KERNELS = 64


@dataclass(frozen=True)
class Bank:
    """M kernels (M, K, C/groups, kh, kw) with biases (M, K) or None, a bias (K) outside the mixture, the convolution.

    ``without``: the names of the children that are the kernels, and no part of an attention.
    """

    kernels: Tensor
    bias: Tensor | None
    outside: Tensor | None
    geometry: ConvGeometry
    without: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """M, the number of kernels."""
        return len(self.kernels)


def banks(module: nn.Module) -> tuple[Bank, ...]:
    """Return the banks of kernels that the module may hold, most likely first; none where it holds none."""
    found = _named_kernels(module)
    if found is None:
        return _of_convolutions(module) or _of_parameters(module) or tuple(_of_one_weight(module))
    name, shape = found
    tensors = tensors_of(module)
    return tuple(_with_geometry(module, tensors.pop(name).view(shape), *_biases(shape, tensors)))


def routes_itself(module: nn.Module) -> bool:
    """Whether the module holds kernels, and layers that may weigh them; copies no weight."""
    lists = any(isinstance(child, nn.ModuleList) for child in module.children()) or bool(_parameter_lists(module))
    listed = lists or any(True for _ in _listed(module))
    kernels = listed or _named_kernels(module) is not None or bool(apart(module) or _one_weight(module))
    return kernels and any(is_dense(part) for part in module.modules())


def _named_kernels(module: nn.Module) -> tuple[str, tuple[int, ...]] | None:
    """Return the name of the tensor that may be the kernels, and its shape as (M, K, C/groups, kh, kw)."""
    shapes = {name: _full(module, shape) for name, shape in shapes_of(module).items()}
    return next(((name, full) for name, full in shapes.items() if full is not None), None)


def _full(module: nn.Module, shape: Sequence[int]) -> tuple[int, ...] | None:
    """Return (M, K, C/groups, kh, kw) for a tensor that may be the kernels."""
    if len(shape) == 5 or (len(shape) == 6 and shape[0] == 1):
        return tuple(shape[-5:])
    if len(shape) == 3 and 1 < shape[0] <= MOST_KERNELS and _is_like_a_convolution(module):
        kernel = pair_named(module, KERNEL) or (1, 1)
        each, rest = divmod(shape[2], math.prod(kernel) or 1)
        return None if rest or not each else (shape[0], shape[1], each, *kernel)
    row = _of_row(module, shape[1]) if len(shape) == 2 else None
    return None if row is None else (shape[0], *row)


def _of_row(module: nn.Module, numbers: int) -> tuple[int, ...] | None:
    """Return (K, C/groups, kh, kw) of a flat kernel of so many numbers, as attributes say."""
    kernel, outputs = pair_named(module, KERNEL), pair_named(module, OUTPUTS)
    each = outputs[0] * math.prod(kernel) if kernel and outputs else 0
    if kernel and outputs and each and numbers % each == 0:
        return (outputs[0], numbers // each, *kernel)
    lists = (value[-4:] for value in vars(module).values() if isinstance(value, (tuple, list)) and len(value) > 3)
    sizes = (tuple(one) for one in lists if all(type(size) is int and size > 0 for size in one))
    return next((one for one in sizes if math.prod(one) == numbers), None)


def unsized(module: nn.Module) -> str | None:
    """Return why flat weights that may be kernels, weighed by an attention, are not read; None where there are none."""
    own = not type(module).__module__.startswith("torch.nn.")
    if not own or not _is_like_a_convolution(module) or _named_kernels(module) is not None:
        return None
    for name, shape in shapes_of(module).items():
        if len(shape) == 2 and 1 < shape[0] <= MOST_KERNELS and shape[1] > shape[0]:
            return (
                f"its weights '{name}' {tuple(shape)} may be {shape[0]} flat kernels, but no attribute says their "
                f"sizes ({KERNEL[0]} and {OUTPUTS[0]}, or a tuple (K, C/groups, kh, kw))"
            )
    return None


def _is_like_a_convolution(module: nn.Module) -> bool:
    said = any(pair_named(module, names) is not None for names in (STRIDE, PADDING, DILATION, KERNEL))
    return said or "conv" in type(module).__name__.lower()


def _biases(shape: Sequence[int], others: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor | None]:
    """Return the biases (M, K) of the kernels, and one (K) outside of them."""
    M, K = shape[:2]
    inside = next(
        (one.view(M, K) for one in others.values() if one.shape[-2:] == (M, K) and one.numel() == M * K), None
    )
    outside = next((one for name, one in others.items() if one.shape == (K,) and "bias" in name), None)
    return inside, outside


def _with_geometry(module: nn.Module, kernels: Tensor, bias: Tensor | None, outside: Tensor | None) -> Iterator[Bank]:
    @functools.cache  # for all guesses of a convolution
    def with_zeros(rows: int, columns: int) -> Tensor:
        return F.pad(kernels, (columns, 0, rows, 0)) if rows or columns else kernels

    for plain, rows, columns in convolutions(module, kernels.shape):
        yield from _padded(Bank(kernels, bias, outside, plain), rows, columns, with_zeros)


def _padded(bank: Bank, rows: Sides, columns: Sides, with_zeros: Callable[[int, int], Tensor]) -> Iterator[Bank]:
    """Yield the bank with this padding; none where taps of zeros cannot stand for what is more behind than in front."""
    more = [behind - front for front, behind in (rows, columns)]
    g = bank.geometry
    taps = [m // d for m, d in zip(more, g.dilation, strict=True)]
    if any(m < 0 or m % d for m, d in zip(more, g.dilation, strict=True)) or (any(more) and g.padding_mode != "zeros"):
        return
    kernel = (g.kernel[0] + taps[0], g.kernel[1] + taps[1])
    yield replace(bank, kernels=with_zeros(*taps), geometry=replace(g, kernel=kernel, padding=(rows[1], columns[1])))


def _of_convolutions(module: nn.Module) -> tuple[Bank, ...]:
    """Return the bank that convolutions of one geometry are: a list of them, or children beside an attention."""
    for names, convs in (*_listed(module), *apart(module)):
        geometries = {conv_geometry(f"{names[0]}.{index}", conv) for index, conv in enumerate(convs)}
        biases = [tensor_of(conv, "bias") for conv in convs]
        if len(geometries) != 1 or len({bias is None for bias in biases}) != 1:
            continue
        each = [bias for bias in biases if bias is not None]
        kernels = torch.stack([weight_of(conv) for conv in convs])
        return (Bank(kernels, torch.stack(each) if each else None, None, geometries.pop(), names),)
    return ()


def _listed(module: nn.Module) -> Iterator[tuple[tuple[str, ...], list[nn.Module]]]:
    """Yield the lists of convolutions that may be kernels, with their names; copies no weight.

    Many modules have dicts of convolutions, and lists of modules that hold one. These are kernels only where what is
    beside them ends in a layer that gives each of them a number.
    """
    for name, child in children_of(module).items():
        held = list(child.children()) if isinstance(child, (nn.ModuleList, nn.ModuleDict)) else []
        convs = [conv for one in held if (conv := _only_convolution(one)) is not None]
        if not 1 < len(convs) == len(held) <= MOST_KERNELS:
            continue
        plain = isinstance(child, nn.ModuleList) and convs == held
        if plain or shares_beside(module, (name,)) == len(convs):
            yield (name,), convs


def _only_convolution(module: nn.Module) -> nn.Module | None:
    """Return the convolution that a module is, or holds beside nothing but dropout and the like."""
    if isinstance(module, nn.Conv2d):
        return module
    leaves = [part for _, part in inside(module)] if children_of(module) else []
    convs = [part for part in leaves if isinstance(part, nn.Conv2d)]
    same = all(part in convs or activation_of(part) == IDENTITY for part in leaves)
    return convs[0] if len(convs) == 1 and same else None


def might_mix(module: nn.Module) -> list[list[nn.Module]]:
    """Return the convolutions of one geometry that might be kernels, in a list or children of their own."""
    return [convs for _, convs in (*_listed(module), *apart(module))]


def apart(module: nn.Module) -> list[tuple[tuple[str, ...], list[nn.Module]]]:
    """Return the convolutions of one geometry that are children of their own, with their names; copies no weight.

    Many modules have such, one behind the other. So they are kernels only where what is beside them ends in a layer
    that gives each of them a number.
    """
    alike: dict[str, dict[str, nn.Module]] = {}
    for name, child in children_of(module).items():
        if isinstance(child, nn.Conv2d):
            sizes = (child.in_channels, child.out_channels, child.kernel_size, child.stride, child.padding)
            key = (*sizes, child.dilation, child.groups, child.padding_mode, child.bias is None)
            alike.setdefault(str(key), {})[name] = child
    found = [(tuple(group), list(group.values())) for group in alike.values() if 1 < len(group) <= MOST_KERNELS]
    return [(names, convs) for names, convs in found if shares_beside(module, names) == len(names)]


def shares_beside(module: nn.Module, names: Collection[str] = ()) -> int:
    """Return how many numbers the last dense layer gives that is in none of these children; 0 where there is none."""
    beside = (child for name, child in children_of(module).items() if name not in names)
    layers = [part for child in beside for part in child.modules() if is_dense(part)]
    return dense_sizes(layers[-1])[0] if layers else 0


def _of_parameters(module: nn.Module) -> tuple[Bank, ...]:
    """Return the banks that a list or dict of kernels of one shape is; their biases may be another, or in the same."""
    lists = {name: list(tensors_of(child).values()) for name, child in _parameter_lists(module).items()}
    for name, tensors in lists.items():
        kernels = [one for one in tensors if one.dim() == 4]
        if len(kernels) < 2 or len({one.shape for one in kernels}) != 1:
            continue
        stacked = torch.stack(kernels)
        M, K = stacked.shape[:2]
        rows = {key: [one for one in each if one.shape == (K,)] for key, each in lists.items()}
        listed = {key: torch.stack(each) for key, each in rows.items() if len(each) == M}
        if len(tensors) != M * (1 + (name in listed)):
            continue
        made = _with_geometry(module, stacked, *_biases(stacked.shape, listed | tensors_of(module)))
        return tuple(replace(bank, without=(name, *listed)) for bank in made)
    return ()


def _parameter_lists(module: nn.Module) -> dict[str, nn.Module]:
    kinds = (nn.ParameterList, nn.ParameterDict)
    return {name: child for name, child in children_of(module).items() if isinstance(child, kinds)}


def _one_weight(module: nn.Module) -> str | None:
    """Return the name of a weight (M·K, C/groups, kh, kw) that may be M kernels one behind the other; copies none."""
    shapes = shapes_of(module)
    for fixed, _ in module.named_buffers(recurse=False):  # a blur beside other layers, or a table
        shapes.pop(fixed, None)
    count = shares_beside(module) if any(len(shape) == 4 for shape in shapes.values()) else 0
    for name, shape in shapes.items():
        if len(shape) == 4 and 1 < count <= MOST_KERNELS and shape[0] > count and shape[0] % count == 0:
            return name
    return None


def _of_one_weight(module: nn.Module) -> Iterator[Bank]:
    """Yield the banks that such a weight may be: all of the first kernel in front, or the first row of each kernel."""
    name = _one_weight(module)
    if name is None:
        return
    count, tensors = shares_beside(module), tensors_of(module)
    weight = tensors.pop(name)
    biases = [one for key, one in tensors.items() if "bias" in key]
    inside = next((one for one in biases if one.shape == (len(weight),)), None)
    outside = next((one for one in biases if one.shape == (len(weight) // count,)), None)
    M, K = count, len(weight) // count
    yield from _with_geometry(
        module, weight.view(M, K, *weight.shape[1:]), None if inside is None else inside.view(M, K), outside
    )
    rows = weight.view(K, M, *weight.shape[1:]).transpose(0, 1)
    yield from _with_geometry(module, rows, None if inside is None else inside.view(K, M).t(), outside)
