"""Operators that name axes, or change what axes there are."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from dcd_deploy.lowering.broadcast import Broadcast, copied_sides
from dcd_deploy.lowering.channels_last.layout import RANKS, Layout, axis_in, logical_size, permuted, shape_in
from dcd_deploy.lowering.channels_last.parts import GlobalPool
from dcd_deploy.lowering.channels_last.site import Laid, Site
from dcd_deploy.lowering.graph import is_getitem, op_name

CHANNELS, ROWS_AND_COLUMNS = 1, {2, 3}
CUTTING = ("chunks", "split_size_or_sections", "split_sizes")
COMBINING = ("add", "mul", "sub", "div")


def softmax(site: Site) -> Laid | None:
    """Return a softmax along an axis."""
    layout, dim = site.lies(site.operand), site.settings.get("dim")
    if layout is Layout.PLAIN or not isinstance(dim, int):
        return None
    function = torch.log_softmax if "log" in site.name else torch.softmax
    return site.call(function, layout, site.take(site.operand, layout), axis_in(layout, dim))


def reduce(site: Site) -> Laid | str | None:
    """Return the mean, sum or extreme along axes; that of all pixels of a map is a row."""
    if (whole := _mean_in_two_steps(site) or _of_everything(site)) is not None:
        return whole
    layout, keep = site.lies(site.operand), bool(site.settings.get("keepdim", False))
    if layout is Layout.PLAIN:
        return None
    axes = _reduced_axes(site, RANKS[layout])
    result = layout if keep else _left(layout, axes)
    if not axes or (result is layout and not keep):
        return "it leaves fewer axes"
    operand, function = site.take(site.operand, layout), getattr(torch, site.name)
    if layout is Layout.LAST and axes == ROWS_AND_COLUMNS and site.name == "mean":
        return site.put(GlobalPool(), result, operand)
    last = sorted(axis_in(layout, axis) for axis in axes)
    return site.call(function, result, operand, last, keepdim=keep or result is not Layout.PLAIN)


def _left(layout: Layout, axes: set[int]) -> Layout:
    """Return the layout of what is left of a map without these axes; its own where it would have to be turned."""
    if layout is Layout.LAST and axes == ROWS_AND_COLUMNS:
        return Layout.ROW
    return Layout.PLAIN if layout is Layout.LAST and CHANNELS in axes else layout


def _of_everything(site: Site) -> Laid | None:
    """Return the mean or sum of all values, whose order does not matter."""
    if site.settings or site.rank(site.operand) < 0:
        return None
    operand = site.take(site.operand, site.lies(site.operand))
    return site.call(getattr(torch, site.name), Layout.PLAIN, operand)


def _reduced_axes(site: Site, rank: int) -> set[int]:
    """Return the axes that are reduced; none where they, or other settings, are not plain."""
    given = site.settings.get("dim")
    dims = (given,) if isinstance(given, int) else given
    further = any(value is not None for key, value in site.settings.items() if key not in ("dim", "keepdim"))
    if further or not isinstance(dims, tuple | list) or not all(isinstance(dim, int) for dim in dims):
        return set()
    return {dim % rank for dim in dims}


def _mean_in_two_steps(site: Site) -> Laid | None:
    """Return the mean of all pixels, where it is taken along columns first and then along rows."""
    before = site.operand
    if site.name != "mean" or before.op not in ("call_function", "call_method") or op_name(before) != "mean":
        return None
    first, second = Site(site.laid, before), site
    steps = [(first.settings.get("dim"), first.settings.get("keepdim", False)), (second.settings.get("dim"), False)]
    if site.settings.get("keepdim", False) or first.rank(first.operand) != 4 or steps[0][0] not in (3, -1, 2, -2):
        return None
    if steps[0][1] or steps[1][0] not in (2, -1) or first.lies(first.operand) is not Layout.LAST:
        return None
    return site.put(GlobalPool(), Layout.ROW, site.take(first.operand, Layout.LAST))


def cat(site: Site) -> Laid | str | None:
    """Return values one behind the other, along any axis."""
    values, dim = site.node.args[0] if site.node.args else site.settings.get("tensors"), site.settings.get("dim", 0)
    if not isinstance(values, tuple | list) or not isinstance(dim, int):
        return None
    nodes = [value for value in values if isinstance(value, fx.Node)]
    layouts = {site.lies(value) for value in nodes}
    layout = next((one for one in RANKS if one in layouts), Layout.PLAIN)
    if layout is Layout.PLAIN:
        return None
    if len(nodes) < len(values) or any(site.rank(value) != RANKS[layout] for value in nodes):
        return "its operands have different ranks"
    return site.call(torch.cat, layout, [site.take(value, layout) for value in nodes], axis_in(layout, dim))


def parts(site: Site) -> Laid | str | None:
    """Return the parts into which an axis is cut; each is taken by its number."""
    layout, dim = site.lies(site.operand), site.settings.get("dim", 0)
    if layout is Layout.PLAIN:
        return None
    if not all(is_getitem(user) and isinstance(user.args[1], int) for user in site.node.users):
        return "its parts are not taken by their numbers"
    sizes = next(site.settings[key] for key in CUTTING if key in site.settings)
    if not isinstance(dim, int) or isinstance(sizes, fx.Node) or site.computed("dim"):
        return "its sizes are computed"
    function = torch.chunk if site.name == "chunk" else torch.split
    return site.call(function, layout, site.take(site.operand, layout), sizes, axis_in(layout, dim))


def getitem(site: Site) -> Laid | str | None:
    """Return one of several values, or a part of a map, or a row as a map of one pixel."""
    layout, index = site.lies(site.operand), site.node.args[1]
    if layout is Layout.PLAIN:
        return None
    if site.shape_of(site.operand) is None:
        return site.again(layout, lambda value: site.take(value, layout))
    given = index if isinstance(index, tuple) else (index,)
    if not all(one is None or one is Ellipsis or isinstance(one, int | slice) for one in given):
        return "it picks by a list"  # of the same length it would look like a reshape
    if (reshaped := reshape(site)) is not None and not isinstance(reshaped, str):
        return reshaped
    entries = _without_ellipsis(given, RANKS[layout])
    one = len(entries) > CHANNELS and isinstance(entries[CHANNELS], int)
    others = [entry for axis, entry in enumerate(entries) if axis != CHANNELS or not one]
    if layout is not Layout.LAST or not all(isinstance(entry, slice) for entry in others):
        return "it takes single rows or columns"
    operand, left = site.take(site.operand, layout), Layout.PLAIN if one else layout
    return site.call(operator.getitem, left, operand, permuted(layout, entries))


def _without_ellipsis(entries: tuple[Any, ...], rank: int) -> tuple[Any, ...]:
    """Return the entries of an index with "all" for each axis that "..." stands for."""
    where = next((i for i, entry in enumerate(entries) if entry is Ellipsis), None)
    if where is None:
        return entries
    filled = (slice(None),) * (rank - len(entries) + 1)
    return (*entries[:where], *filled, *entries[where + 1 :])


def cut(site: Site) -> Laid | str | None:
    """Return a part along one axis, as torch.export writes it."""
    layout, dim = site.lies(site.operand), site.settings.get("dim", 0)
    if layout is Layout.PLAIN:
        return None
    if not isinstance(dim, int):
        return "its sizes are computed"
    bounds = slice(*(site.settings.get(key) for key in ("start", "end", "step")))
    index = [slice(None)] * 4
    index[axis_in(layout, dim)] = bounds
    return site.call(operator.getitem, layout, site.take(site.operand, layout), tuple(index))


def select(site: Site) -> Laid | str | None:
    """Return one channel of a map, as torch.export writes it."""
    layout, dim, index = site.lies(site.operand), site.settings.get("dim", 0), site.settings.get("index")
    if layout is Layout.PLAIN:
        return None
    if layout is not Layout.LAST or not isinstance(dim, int) or dim % RANKS[layout] != CHANNELS:
        return "it takes single rows or columns"
    return site.call(torch.select, Layout.PLAIN, site.take(site.operand, layout), axis_in(layout, dim), index)


def reshape(site: Site) -> Laid | str | None:
    """Return maps of one pixel as rows and rows as maps; they lie alike. Nothing else keeps its layout."""
    layout = site.lies(site.operand)
    before, after = site.shape_of(site.operand), site.shape_of(site.node)
    if layout is Layout.PLAIN or before is None or after is None:
        return None
    if _gathers_samples(site):
        return "it takes all samples for one"
    if before == after:
        return site.same(site.take(site.operand, layout), layout)
    if layout is Layout.LAST and before[2:] == (1, 1) and after == before[:2]:
        return site.same(site.take(site.operand, layout), Layout.ROW)
    if layout is Layout.ROW and after == (*before, 1, 1):
        return site.same(site.take(site.operand, layout), Layout.LAST)
    return "it makes other axes"


def _gathers_samples(site: Site) -> bool:
    """Whether a reshape names one as its first size, which of one sample, as the example is, changes nothing."""
    sizes = site.node.args[1:]
    first = sizes[0] if sizes else None
    first = first[0] if isinstance(first, tuple | list) and first else first
    return site.name in ("view", "reshape", "_unsafe_view") and isinstance(first, int) and first == 1


def permute(site: Site) -> Laid | str | None:
    """Return a map as it lies, where torch would turn it so, or what it would turn to a map."""
    order = _order(site)
    rank, layout = site.rank(site.operand), site.lies(site.operand)
    if rank != 4 or order is None:
        return None if layout is Layout.PLAIN else "it makes other axes"
    if layout is Layout.LAST and order == (0, 2, 3, 1):
        return site.same(site.take(site.operand, Layout.LAST), Layout.PLAIN)
    if layout is Layout.PLAIN and order == (0, 3, 1, 2):
        return site.same(site.take(site.operand, Layout.PLAIN), Layout.LAST)
    return None if layout is Layout.PLAIN else "it makes other axes"


def _order(site: Site) -> tuple[int, ...] | None:
    given: tuple[Any, ...] = site.node.args[1:] or (site.settings.get("dims"),)
    order = given[0] if len(given) == 1 and isinstance(given[0], tuple | list) else given
    rank = site.rank(site.operand)
    return tuple(int(d) % rank for d in order) if all(isinstance(d, int) for d in order) and rank > 0 else None


def size(site: Site) -> Laid | None:
    """Return the size that a value has for torch."""
    layout, dim = site.lies(site.operand), site.settings.get("dim")
    if layout is Layout.PLAIN:
        return None
    arguments = () if dim is None else (dim,)
    return site.call(logical_size, Layout.PLAIN, site.take(site.operand, layout), layout.value, *arguments)


def attribute(site: Site) -> Laid | None:
    """Return the shape of a value; other attributes are read from it as torch has it."""
    return size(site) if len(site.node.args) > 1 and site.node.args[1] == "shape" else None


def copies(site: Site) -> Laid | str | None:
    """Return a value that those who read it broadcast by themselves; else it is copied along its sides of one."""
    layout, sides = site.lies(site.operand), copied_sides(site.node)
    if sides is None:
        return None if layout is Layout.PLAIN else "it makes other axes"
    if all(_broadcasts(site, reader) for reader in site.node.users):
        return site.same(site.take(site.operand, layout), layout)
    if len(sides) == RANKS[Layout.LAST]:
        layout = Layout.LAST  # turned before, when it is small
    elif layout is not Layout.PLAIN:
        return "it repeats a row"
    return site.put(Broadcast(shape_in(layout, sides)), layout, site.take(site.operand, layout))


def _broadcasts(site: Site, reader: fx.Node) -> bool:
    if reader.op not in ("call_function", "call_method") or op_name(reader) not in COMBINING:
        return False
    return any(other is not site.node and site.shape_of(other) == site.shape for other in reader.all_input_nodes)
