"""The table of operators with their form channels last.

An entry gets a node and returns what stands for it; a reason why it cannot be laid out as it is called here; or None
where it has nothing to do, since the operands are as torch has them. An operator without an entry, or with a reason,
gets its operands as torch has them, with transpositions around it: right, and a cost.
"""

from __future__ import annotations

from collections.abc import Callable

from dcd_deploy.lowering.broadcast import COPYING
from dcd_deploy.lowering.channels_last import axes, elementwise, maps
from dcd_deploy.lowering.channels_last.layout import RANKS, Layout
from dcd_deploy.lowering.channels_last.site import Laid, Site, first_operand
from dcd_deploy.lowering.lowering import Lowering

Entry = Callable[[Site], Laid | str | None]

TABLE: dict[str, Entry] = {
    "conv2d": maps.conv2d,
    "conv_transpose2d": maps.conv_transpose2d,
    "linear": maps.linear,
    "batch_norm": maps.batch_norm,
    "prelu": maps.prelu,
    "max_pool2d": maps.max_pool2d,
    "avg_pool2d": maps.avg_pool2d,
    "adaptive_avg_pool2d": maps.adaptive_avg_pool2d,
    "adaptive_max_pool2d": maps.adaptive_max_pool2d,
    "interpolate": maps.interpolate,
    "upsample_nearest2d": maps.interpolate,
    "_upsample_nearest_exact2d": maps.interpolate,
    "upsample_bilinear2d": maps.interpolate,
    "upsample_bicubic2d": maps.interpolate,
    "_upsample_bilinear2d_aa": maps.interpolate,
    "_upsample_bicubic2d_aa": maps.interpolate,
    "pixel_shuffle": maps.pixel_shuffle,
    "pixel_unshuffle": maps.pixel_unshuffle,
    "pad": maps.pad,
    "constant_pad_nd": maps.pad,
    "softmax": axes.softmax,
    "log_softmax": axes.softmax,
    "_softmax": axes.softmax,
    "_log_softmax": axes.softmax,
    "mean": axes.reduce,
    "sum": axes.reduce,
    "amax": axes.reduce,
    "amin": axes.reduce,
    "cat": axes.cat,
    "concat": axes.cat,
    "concatenate": axes.cat,
    "chunk": axes.parts,
    "split": axes.parts,
    "split_with_sizes": axes.parts,
    "getitem": axes.getitem,
    "slice": axes.cut,
    "select": axes.select,
    "flatten": axes.reshape,
    "view": axes.reshape,
    "reshape": axes.reshape,
    "_unsafe_view": axes.reshape,
    "squeeze": axes.reshape,
    "unsqueeze": axes.reshape,
    "permute": axes.permute,
    "size": axes.size,
    "sym_size": axes.size,
    "getattr": axes.attribute,
    **dict.fromkeys(COPYING, axes.copies),
    **elementwise.ENTRIES,
    "add": elementwise.scaled,
    "sub": elementwise.scaled,
}
# Of these the first argument may be a list, or a number.
ANY_FIRST = frozenset({"cat", "concat", "concatenate", *elementwise.BINARY})


def lowered(site: Site) -> Laid:
    """Return a dynamic layer, whose lowering works on maps channels last, or on rows, already."""
    taken = (site.take(value, _layout(site, value)) for value in site.node.all_input_nodes)
    return site.again(_layout(site, site.node), dict(zip(site.node.all_input_nodes, taken, strict=True)).__getitem__)


def _layout(site: Site, value: object) -> Layout:
    rank = len(site.shape) if value is site.node else site.rank(value)
    return next(layout for layout, of in RANKS.items() if of == rank)


def entry_for(site: Site) -> Entry | None:
    """Return the entry of a node's operator, if there is one."""
    if isinstance(site.module, Lowering):
        return lowered
    entry = TABLE.get(site.name)
    return entry if site.name in ANY_FIRST or first_operand(site.node) is not None else None
