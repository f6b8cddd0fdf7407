"""F.fold, which lays columns back into a map, as a transposed convolution by ones.

    fold(x (N, C·taps, L))  →  conv_transpose(x (N, C·taps, rows, columns)), a group for each channel of the map

Each kernel has a single one, at its tap. TFLite's converter makes of a fold a scatter that its interpreter refuses.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from dcd_deploy.dynamic.depthwise import pair_of
from dcd_deploy.dynamic.operator import Pair
from dcd_deploy.lowering.channels_last.settings import name_and_settings
from dcd_deploy.lowering.graph import SHAPE, NetworkGraph, copy_meta, shape
from dcd_deploy.lowering.layers import frozen
from dcd_deploy.lowering.passes.contract import Pass, PassResult

FOLDS = ("fold", "col2im")


class FoldByConvolution(Pass):
    """Replace folds of columns (N, C·taps, L)."""

    name: ClassVar[str] = "fold by convolution"
    reason: ClassVar[str] = "TFLite has no operator that lays columns into a map"

    def apply(self, graph: NetworkGraph) -> PassResult:
        result = PassResult()
        for node in graph.nodes:
            module = graph.submodule(node)
            name, settings = name_and_settings(node, module)
            columns = shape(node.all_input_nodes[0]) if name in FOLDS and node.op != "output" else None
            if columns is None or len(columns) != 3:
                continue
            made, sides = _transposed(settings, columns[1])
            grid = (columns[1], *sides)
            path = graph.add_module(f"{node.name}_transposed", made)
            with graph.module.graph.inserting_before(node):
                whole = graph.module.graph.call_method("reshape", (node.all_input_nodes[0], (-1, *grid)))
                copy_meta(node, whole, **{SHAPE: (columns[0], *grid)})
                found = copy_meta(node, graph.module.graph.call_module(path, (whole,)))
            node.replace_all_uses_with(found)
            graph.module.graph.erase_node(node)
            result.changed += 1
        return result


def _transposed(settings: dict[str, object], channels: int) -> tuple[nn.ConvTranspose2d, Pair]:
    """Return the convolution, and how many rows and columns of windows there are."""
    output, kernel = (pair_of(settings[name]) for name in ("output_size", "kernel_size"))  # type: ignore[arg-type]
    stride, padding, dilation = (
        pair_of(settings.get(name, usual))  # type: ignore[arg-type]
        for name, usual in (("stride", 1), ("padding", 0), ("dilation", 1))
    )
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    sides = [(o + 2 * p - e) // s + 1 for o, p, e, s in zip(output, padding, spans, stride, strict=True)]
    left = [o - ((n - 1) * s - 2 * p + e) for o, n, s, p, e in zip(output, sides, stride, padding, spans, strict=True)]
    taps = kernel[0] * kernel[1]
    groups = channels // taps
    conv = nn.ConvTranspose2d(
        channels, groups, kernel, stride, padding, (left[0], left[1]), groups, bias=False, dilation=dilation
    )
    ones = torch.eye(taps, dtype=torch.float64).view(taps, 1, *kernel)
    conv.weight = frozen(ones.repeat(groups, 1, 1, 1))
    return conv, (sides[0], sides[1])
