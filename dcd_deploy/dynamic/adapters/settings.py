"""The convolution of a mixture's kernels: what the module says of it, and guesses of what it does not say.

Said is what stands in attributes of the usual names, or in dicts under them. A stride or dilation of another name, or
that is written in a forward, is guessed; of the guesses, those fit that make the output's size, and the proof picks.
Padding "same" depends on the size of the map: a choice for each remainder of its sides by the stride.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from torch import nn

from dcd_deploy.dynamic.adapters.parts import dense_sizes, is_dense, pair
from dcd_deploy.dynamic.operator import ConvGeometry, Pair

STRIDE, PADDING = ("stride", "strides"), ("padding", "pad")
DILATION, GROUPS = ("dilation", "dilations"), ("groups", "group")
KERNEL = ("kernel_size", "kernel", "ksize", "k")
OUTPUTS = ("out_channels", "out_planes", "out_chs", "planes", "out_dim", "oup", "cout")

STRIDES: tuple[Pair, ...] = ((1, 1), (2, 2), (4, 4), (3, 3), (2, 1), (1, 2))
DILATIONS: tuple[Pair, ...] = ((1, 1), (2, 2), (3, 3), (4, 4))
LARGEST_RATE, MOST_RATES = 36, 4  # of the dilations under another name: an ASPP's largest, and how many are tried
POOLED, MOST_GROUPS = (1, 4, 9), 6  # pixels of a channel that an attention sees, and how many guesses are tried

Sides = tuple[int, int]  # in front and behind
Padded = tuple[ConvGeometry, Sides, Sides]  # the convolution, without the zeros that rows and columns get


def pair_named(module: nn.Module, names: Sequence[str]) -> Pair | None:
    """Return the integer or pair that the module holds under the first of these names."""
    return next((found for one in _said(module, names) if (found := pair(one)) is not None), None)


def _said(module: nn.Module, names: Sequence[str]) -> Iterator[object]:
    """Yield what the module holds under these names: as attributes, then in dicts, as those for ``F.conv2d`` are."""
    kept = [value for key, value in vars(module).items() if isinstance(value, dict) and not key.startswith("_")]
    for name in names:
        yield getattr(module, name, None)
    for settings, name in itertools.product(kept, names):
        yield settings.get(name)


def convolutions(module: nn.Module, shape: Sequence[int]) -> Iterator[Padded]:
    """Yield the convolutions that kernels of a shape (M, K, C/groups, kh, kw) may be of, most likely first."""
    _, K, grouped, *sides = shape
    kernel = (sides[0], sides[1])
    mode = next((one for one in _said(module, ["padding_mode"]) if isinstance(one, str)), "zeros")
    strides, dilations = _strides(module), _dilations(module, kernel)
    for groups, dilation, stride in itertools.product(_groups(module, K, grouped), dilations, strides):
        plain = ConvGeometry(grouped * groups, K, kernel, stride, (0, 0), dilation, groups, mode)
        guessed = (stride, dilation) != (strides[0], dilations[0])
        for rows, columns in _guessed_paddings(module, plain) if guessed else _paddings(module, plain):
            yield plain, rows, columns


def _strides(module: nn.Module) -> tuple[Pair, ...]:
    said = pair_named(module, STRIDE)
    return STRIDES if said is None else (said,)


def _dilations(module: nn.Module, kernel: Pair) -> tuple[Pair, ...]:
    said = pair_named(module, DILATION)
    if said is not None or kernel == (1, 1):
        return (said or (1, 1),)
    held = [one for value in vars(module).values() if (one := pair(value)) is not None]
    rates = [one for one in held if min(one) > 1 and max(one) <= LARGEST_RATE]
    return tuple(dict.fromkeys([(1, 1), *rates[:MOST_RATES], *DILATIONS]))


def _groups(module: nn.Module, K: int, grouped: int) -> list[int]:
    """Return what is said, else a group for each channel, one, and those of the channels that an attention sees.

    Without an attention, which is outside then, any that the outputs can be in.
    """
    said = pair_named(module, GROUPS)
    if said is not None:
        return [said[0]]
    dense = [dense_sizes(part)[1] for part in module.modules() if is_dense(part)]
    seen = [divmod(values, grouped * pixels) for values in dict.fromkeys(dense) for pixels in POOLED]
    every = [groups for groups, rest in seen if rest == 0] if dense else range(2, K + 1)
    fitting = [groups for groups in every if groups > 1 and K % groups == 0]
    return list(dict.fromkeys([*([K] if grouped == 1 else []), 1, *fitting[:MOST_GROUPS]]))


def _is_same(module: nn.Module) -> bool:
    return any(value is True and "pad" in name for name, value in vars(module).items())


def _says_same(module: nn.Module) -> bool:
    return any(isinstance(one, str) and one in {"same", "SAME"} for one in _said(module, PADDING))


def _paddings(module: nn.Module, g: ConvGeometry) -> Iterator[tuple[Sides, Sides]]:
    """Yield the zeros in front and behind, of rows and of columns."""
    said = pair_named(module, PADDING)
    same = _is_same(module)
    if said is not None and not same:
        yield (said[0], said[0]), (said[1], said[1])
        return
    if said is None and not _says_same(module):
        yield (0, 0), (0, 0)
    yield from itertools.product(*(_same(*axis) for axis in zip(g.kernel, g.stride, g.dilation, strict=True)))


def _same(kernel: int, stride: int, dilation: int) -> list[Sides]:
    """Return what "same" padding adds, for each remainder of the side by the stride."""
    extent = dilation * (kernel - 1) + 1
    totals = [max(extent - (remainder or stride), 0) for remainder in range(stride)]
    return [(total // 2, total - total // 2) for total in dict.fromkeys(totals)]


def _guessed_paddings(module: nn.Module, g: ConvGeometry) -> Iterator[tuple[Sides, Sides]]:
    """Yield the paddings of a guessed stride or dilation: what is said, else half the kernel, or none.

    They are the same in front and behind, so that a guess copies no kernel; "same" is guessed for stride 2 alone.
    """
    said = pair_named(module, PADDING)
    if _is_same(module) or (said is None and _says_same(module)):
        if g.stride == (2, 2) and g.dilation == (1, 1):
            yield from _paddings(module, g)
        return
    half = [d * (k - 1) // 2 for k, d in zip(g.kernel, g.dilation, strict=True)]
    for rows, columns in dict.fromkeys([said] if said is not None else [(half[0], half[1]), (0, 0)]):
        yield (rows, rows), (columns, columns)
