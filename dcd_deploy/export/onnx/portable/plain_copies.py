"""Copies along sides of one as a product that broadcasts, others as a Concat.

    Expand(x, sizes), Tile(x, times)          →          x · 1, ones of as many sides as there are copies
    Tile(x, times) of one side                →          Concat(x, x, …)

tract takes an Expand behind a convolution's input into it and then finds other sizes; ncnn does not load a Tile.
"""

from __future__ import annotations

from itertools import zip_longest

import numpy as np
import onnx_ir as ir

from dcd_deploy.export.onnx.portable.rewriting import added_constant, constant, nodes_of, replace

FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE)
MOST = 64  # of a Concat


def plain_copies(graph: ir.Graph) -> None:
    """Write each of them so, of floats of known sides."""
    for node in nodes_of(graph, "Expand", "Tile"):
        x, given = node.inputs[0], constant(node.inputs[1])
        if x is None or x.shape is None or given is None or x.dtype not in FLOATS:
            continue
        sides, copies = [side if isinstance(side, int) else 0 for side in x.shape], [int(each) for each in given]
        if node.op_type == "Expand":
            pairs = list(zip_longest(reversed(sides), reversed(copies), fillvalue=1))[::-1]
            if any(side == 0 and size != 1 for side, size in pairs):  # a free one may be one
                continue
            sides, copies = [side for side, _ in pairs], [size if side == 1 else 1 for side, size in pairs]
        tiled = [axis for axis, times in enumerate(copies) if times > 1]
        if all(sides[axis] == 1 for axis in tiled):
            ones = added_constant(graph, f"{node.outputs[0].name}.ones", np.ones(copies, x.dtype.numpy()))
            replace(node, "Mul", [x, ones])
        elif len(tiled) == 1 and copies[tiled[0]] <= MOST:
            replace(node, "Concat", [x] * copies[tiled[0]], axis=tiled[0])
