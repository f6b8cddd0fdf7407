"""A TFLite file's structure, checked before an interpreter sees it: interpreters follow numbers without asking.

    operator → code, tensors       graph → tensors       tensor → buffer       signature, metadata → tensor, buffer

Every number is one of something that is there, names are texts, no size is beyond any model's, and all buffers
together are no larger than the file. What the numbers mean to an operator no structure tells: a file that is damaged so
can still crash an interpreter (``isolated``).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

from dcd_deploy.artifacts import MOST_AXES
from dcd_deploy.runtimes.flatbuffer import (
    BUFFER_DATA,
    BUFFER_OFFSET,
    INSIDE,
    METADATA_BUFFER,
    MODEL_BUFFERS,
    MODEL_METADATA,
    Table,
    buffer_bytes,
    damaged,
)

MODEL_CODES, MODEL_GRAPHS, MODEL_SIGNATURES = 1, 2, 7  # fields of the root table
CODE_CUSTOM = 1
GRAPH_TENSORS, GRAPH_INPUTS, GRAPH_OUTPUTS, GRAPH_OPERATORS = range(4)
TENSOR_SHAPE, TENSOR_BUFFER, TENSOR_NAME, TENSOR_SIGNATURE = 0, 2, 3, 7
OPERATOR_CODE, OPERATOR_INPUTS, OPERATOR_OUTPUTS, OPERATOR_OPTIONS, OPERATOR_CUSTOM = 0, 1, 2, 4, 5
SIGNATURE_INPUTS, SIGNATURE_OUTPUTS, SIGNATURE_KEY, SIGNATURE_GRAPH = 0, 1, 2, 4
MAP_NAME, MAP_TENSOR = 0, 1
LEFT_OUT = -1  # an optional input that an operator does without
FIRST_OPTIONAL = 2  # behind a map and weights: a bias
RECURRENT = frozenset((16, 24, 27, 35, 44, 46, 52))  # RNN, LSTM, SVDF and their kinds, which do without more
CODE_OLD, CODE = 0, 3  # two fields for the number of a kind of operator; the larger counts
FREE = -1  # a size that is free
MOST_VALUES = 1 << 28  # of a tensor: a gigabyte of float32


def check_structure(content: bytes, where: str | Path) -> None:
    """Refuse a TFLite file in which something points to what is not there.

    Raises:
        ModelFileError: it does; the message says what.
    """
    try:
        _check(Table.root(content))
    except (struct.error, IndexError, ValueError) as error:
        raise damaged(f"a TFLite model at '{where}'", error) from error


def _check(root: Table) -> None:
    codes, graphs, buffers = (root.tables(field) for field in (MODEL_CODES, MODEL_GRAPHS, MODEL_BUFFERS))
    _check_buffers(buffers, len(root.content))
    for code in codes:
        code.text(CODE_CUSTOM)
    kinds = [max(code.number(CODE_OLD, "b"), code.number(CODE, "i")) for code in codes]
    if not graphs:
        raise ValueError("no graph")
    tensors = [_check_graph(graph, kinds, len(buffers)) for graph in graphs]
    for entry in root.tables(MODEL_METADATA):
        _check_numbers("the buffer of a metadata entry", [entry.number(METADATA_BUFFER)], len(buffers))
    for signature in root.tables(MODEL_SIGNATURES):
        _check_signature(signature, tensors)


def _check_buffers(buffers: Iterable[Table], most: int) -> None:
    total = 0
    for buffer in buffers:
        total += len(buffer_bytes(buffer))
        if buffer.number(BUFFER_OFFSET, "Q") > INSIDE:  # what else it holds lies in the file too
            total += len(buffer.data(BUFFER_DATA))
    if total > most:
        raise ValueError(f"buffers of {total} bytes in a file of {most}")


def _check_graph(graph: Table, kinds: Sequence[int], buffers: int) -> int:
    """Check a graph, and return how many tensors it has."""
    tensors = graph.tables(GRAPH_TENSORS)
    for tensor in tensors:
        _check_tensor(tensor, buffers)
    for side, field in (("an input", GRAPH_INPUTS), ("an output", GRAPH_OUTPUTS)):
        _check_numbers(f"{side} of the graph", graph.numbers(field), len(tensors))
    for operator in graph.tables(GRAPH_OPERATORS):
        _check_operator(operator, kinds, len(tensors))
    return len(tensors)


def _check_operator(operator: Table, kinds: Sequence[int], tensors: int) -> None:
    number, inputs = operator.number(OPERATOR_CODE), operator.numbers(OPERATOR_INPUTS)
    _check_numbers("the kind of an operator", [number], len(kinds))
    needed = 1 if kinds[number] in RECURRENT else FIRST_OPTIONAL
    _check_numbers("an input of an operator", inputs[:needed], tensors)
    _check_numbers("an input of an operator", inputs[needed:], tensors, LEFT_OUT)
    _check_numbers("an output of an operator", operator.numbers(OPERATOR_OUTPUTS), tensors)
    operator.table(OPERATOR_OPTIONS)
    operator.data(OPERATOR_CUSTOM)


def _check_tensor(tensor: Table, buffers: int) -> None:
    tensor.text(TENSOR_NAME)
    _check_numbers("the buffer of a tensor", [tensor.number(TENSOR_BUFFER)], buffers)
    shape, signature = tensor.numbers(TENSOR_SHAPE), tensor.numbers(TENSOR_SIGNATURE)
    if max(len(shape), len(signature)) > MOST_AXES or min((0, *shape)) < 0 or min((0, *signature)) < FREE:
        raise ValueError(f"a tensor of shape {shape[:MOST_AXES]}")
    if math.prod(size or 1 for size in shape) > MOST_VALUES:
        raise ValueError(f"a tensor of shape {shape}, more than {MOST_VALUES} values")


def _check_signature(signature: Table, tensors: Sequence[int]) -> None:
    """Check a signature of graphs with so many tensors each."""
    number = signature.number(SIGNATURE_GRAPH)
    _check_numbers("the graph of a signature", [number], len(tensors))
    signature.text(SIGNATURE_KEY)
    for field in (SIGNATURE_INPUTS, SIGNATURE_OUTPUTS):
        for entry in signature.tables(field):
            entry.text(MAP_NAME)
            _check_numbers("a tensor of a signature", [entry.number(MAP_TENSOR)], tensors[number])


def _check_numbers(what: str, numbers: Iterable[int], count: int, least: int = 0) -> None:
    for number in numbers:
        if not least <= number < count:
            raise ValueError(f"{what} is number {number} of {count}")
