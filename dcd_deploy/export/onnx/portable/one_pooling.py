"""The mean of a map's parts, along columns and then along rows, as one pooling.

    x (N, C, H, W) → Reshape (N, C·a, H/a, W) → ReduceMean<axis 2> → Reshape (N, C·a·b, W/b) → ReduceMean<axis 2>

    x → AveragePool<H/a × W/b> → Reshape (N, C·a·b)

For OpenVINO, MNN and ncnn alone, whose poolings are quick, and which keep maps in layouts that a Reshape has them
leave. onnxruntime's plain layout pools one value at a time.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from dcd_deploy.export.onnx.portable.rewriting import (
    Value,
    added_constant,
    attribute,
    before,
    constant,
    nodes_of,
    replace,
    sizes_for_reshape,
)


def one_pooling(graph: ir.Graph) -> None:
    """Write every two means of equal parts as one pooling."""
    for node in nodes_of(graph, "ReduceMean"):
        if (found := _parts(node)) is not None:
            source, sizes = found
            cells = before(node, "AveragePool", [source], "cells", kernel_shape=sizes, strides=sizes)
            row = added_constant(graph, f"{node.outputs[0].name}.row", np.array(_row(node), np.int64))
            replace(node, "Reshape", [cells, row])


def _parts(node: ir.Node) -> tuple[Value, list[int]] | None:
    """Return the map of whose parts a node gives the means, and the height and width of a part."""
    of_columns = _mean_of(node)
    of_rows = None if of_columns is None else of_columns.inputs[0]
    inner = None if of_rows is None or of_rows.producer() is None else _mean_of(of_rows.producer())
    if of_columns is None or inner is None:
        return None
    source, rows, columns = inner.inputs[0], inner.outputs[0], of_columns.outputs[0]
    sizes, tall, wide = (sizes_for_reshape(value) for value in (source, rows, columns))
    if sizes is None or tall is None or wide is None or [len(sizes), len(tall), len(wide)] != [4, 4, 3]:
        return None
    (_, channels, height, width), part = sizes, [tall[2], wide[2]]
    down, across = height // part[0], width // part[1]
    as_parts = tall[1:] == [channels * down, part[0], width] and wide[1:] == [channels * down * across, part[1]]
    return (source, part) if as_parts and min(sizes[1:]) > 0 else None


def _mean_of(node: ir.Node | None) -> ir.Node | None:
    """Return the Reshape of which a node takes the mean over axis 2."""
    if node is None or node.domain != "" or node.op_type != "ReduceMean" or attribute(node, "keepdims", 1):
        return None
    axes, value = constant(node.inputs[1] if len(node.inputs) > 1 else None), node.inputs[0]
    maker = None if value is None else value.producer()
    return maker if axes is not None and axes.tolist() == [2] and maker and maker.op_type == "Reshape" else None


def _row(node: ir.Node) -> list[int]:
    sizes = sizes_for_reshape(node.outputs[0])
    assert sizes is not None  # that of its input is known
    return sizes
