"""Means over cells of a map in int8, as products of whole numbers: exact, and no map becomes float32 for them.

    x → Reshape, ReduceMean, AveragePool, … → means

    q (1, C, H, W) → Transpose → Reshape (H·W, C) → MatMulInteger by zeros and ones (cells, H·W), less the zero point
      → Cast → Mul by s / pixels of each cell → Transpose (C, cells) → Reshape → means

onnxruntime keeps maps in int8 channels last, where the first transposition is none. The zeros and ones of all maps of
one size are one constant, and the file has but their rows and columns: onnxruntime joins them when it loads it. A chain
of operators is believed to be the means of certain cells when it gives those of random numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from dcd_deploy.export.onnx.file import Shapes, known_shapes
from dcd_deploy.lowering.assemble.windows import cell
from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession

MEANS = ("ReduceMean", "AveragePool", "GlobalAveragePool", "MatMul")
MOST_CELLS = 16  # of more, so many products by zero take longer than what pools by windows
PROVED = 2e-5  # of a mean of random numbers around 1, in float32; a column more or less in a cell is worth more


@dataclass(frozen=True, eq=False)
class Pooling:
    """Nodes, of which the last gives the means of a map (1, C, H, W), and the shape of these means.

    The cells of a map lie in a grid: ``rows`` (rows, H) and ``columns`` (columns, W) say which pixels are in which.
    """

    nodes: tuple[onnx.NodeProto, ...]
    map: str
    rows: NDArray[np.bool_]
    columns: NDArray[np.bool_]
    means: tuple[int, ...]

    @property
    def last(self) -> onnx.NodeProto:
        """The node that gives the means."""
        return self.nodes[-1]

    @property
    def pixels(self) -> NDArray[np.float64]:
        """A row (cells, H·W) for each cell: 1 for its pixels."""
        return np.kron(self.rows.astype(float), self.columns.astype(float))

    def factors(self, scale: np.float32) -> NDArray[np.float32]:
        """Return what makes means of sums (cells, C): the step of the map over the pixels of each cell."""
        factors: NDArray[np.float64] = float(scale) / self.pixels.sum(axis=1, keepdims=True)
        return factors.astype(np.float32)


def poolings(model: onnx.ModelProto) -> list[Pooling]:
    """Return all means over few cells of a map of a known size, for a batch of one."""
    shapes = known_shapes(model)
    found = []
    for nodes in _chains(model.graph):
        first = next(i for i, node in enumerate(nodes) if node.op_type in MEANS)
        parts = (nodes[:count] for count in range(len(nodes), first, -1))
        found += [each for part in parts if (each := _pooling(model, part, shapes)) is not None][:1]
    return found


def _chains(graph: onnx.GraphProto) -> Iterator[list[onnx.NodeProto]]:
    """Yield nodes that take means of a value and lay them out, as far as nobody else reads what is between them."""
    constants = {tensor.name for tensor in graph.initializer}
    outputs = {output.name for output in graph.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    def lays_out(node: onnx.NodeProto) -> bool:
        return node.op_type in ("Reshape", *MEANS) and constants.issuperset(node.input[1:])

    behind = set()
    for node in graph.node:
        if not lays_out(node) or node.output[0] in behind:
            continue
        chain = [node]
        while chain[-1].output[0] not in outputs and len(following := readers.get(chain[-1].output[0], [])) == 1:
            if not lays_out(following[0]) or following[0].input[0] != chain[-1].output[0]:
                break
            chain.append(following[0])
            behind.add(chain[-1].output[0])
        if any(each.op_type in MEANS for each in chain):
            yield chain


def _pooling(model: onnx.ModelProto, nodes: list[onnx.NodeProto], shapes: Shapes) -> Pooling | None:
    source, means = shapes.get(nodes[0].input[0], ()), shapes.get(nodes[-1].output[0], ())
    if len(source) != 4 or source[0] != 1 or not means:
        return None
    _, channels, height, width = source
    count, left = divmod(int(np.prod(means)), channels)
    if left or not 0 < count <= MOST_CELLS:
        return None
    x = np.random.default_rng(0).uniform(0.5, 1.5, source).astype(np.float32)
    right = _run(model, nodes, x).reshape(channels, count)
    for rows in (n for n in range(1, count + 1) if count % n == 0):
        grid = _cells(rows, height), _cells(count // rows, width)
        found = Pooling(tuple(nodes), nodes[0].input[0], *grid, means)
        if np.abs(x.reshape(channels, -1) @ (found.pixels * found.factors(np.float32(1))).T - right).max() < PROVED:
            return found
    return None


def _cells(count: int, side: int) -> NDArray[np.bool_]:
    """Return which pixels (count, side) are in each of so many cells of a side."""
    marked = np.zeros((count, side), np.bool_)
    for i in range(count):
        marked[i, slice(*cell(i, count, side))] = True
    return marked


def _run(model: onnx.ModelProto, nodes: list[onnx.NodeProto], x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what a chain of nodes makes of a map."""
    read = {name for node in nodes for name in node.input}
    ends = (nodes[0].input[0], list(x.shape)), (nodes[-1].output[0], None)
    (source,), (target,) = ([helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s)] for n, s in ends)
    tensors = [tensor for tensor in model.graph.initializer if tensor.name in read]
    graph = helper.make_graph(nodes, "pooling", [source], [target], tensors)
    alone = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    return OnnxRuntimeSession(alone.SerializeToString()).run(x)
