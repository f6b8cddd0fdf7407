"""Copies of tensors: of what is reshaped and read later, which LiteRT's own kernels would change.

    x = ADD(a, b)      the last to read a, and so x has the memory of a
    y = RESHAPE(x)     has it too
    z = MUL(y, …)      the last to read y: z has it as well, since those who read a are counted alone
    … x …              is z by then                     (ai-edge-litert 2.3, without XNNPACK)

So y becomes RESHAPE(MAXIMUM(x, x)), whose memory is its own. A reshape of what has its own memory needs none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

SHARING = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
WRITING = ("ADD", "SUB", "MUL", "DIV", "DYNAMIC_UPDATE_SLICE")  # into the memory of what they read last
Readers = Mapping[int, Sequence[int]]  # of each tensor, the places of the operators that read it


def copy_what_is_read_later(model: Any, schema: Any) -> int:
    """Put copies before the reshapes of a ``TfliteModel`` that need them; return how many."""
    graph = model.graph
    names = [model.operator_name(operator) for operator in graph.operators]
    readers: defaultdict[int, list[int]] = defaultdict(list)
    for place, operator in enumerate(graph.operators):
        for tensor in operator.inputs:
            readers[int(tensor)].append(place)
    for tensor in graph.outputs:
        readers[int(tensor)].append(len(names))
    needed = [
        place for place, name in enumerate(names) if name in SHARING and _is_changed(graph, names, readers, place)
    ]
    for place in reversed(needed):
        reshape = graph.operators[place]
        copy, number = copied(model, schema, int(reshape.inputs[0]))
        reshape.inputs = [number, *map(int, reshape.inputs[1:])]
        graph.operators.insert(place, copy)
    return len(needed)


def _is_changed(graph: Any, names: Sequence[str], readers: Readers, place: int) -> bool:
    """Whether one of two tensors of one memory is written over before the last reader of the other."""
    source = int(graph.operators[place].inputs[0])
    of_source = [reader for reader in readers[source] if reader != place]
    of_result = list(_readers_of_results(graph, names, readers, place))
    return any(
        names[writer] in WRITING and place < writer < max(others, default=-1)
        for writers, others in ((of_result, of_source), (of_source, of_result))
        for writer in writers
        if writer < len(names)
    )


def _readers_of_results(graph: Any, names: Sequence[str], readers: Readers, place: int) -> Iterator[int]:
    """Yield who reads what a reshape gives, or what further reshapes make of it."""
    for reader in readers[int(graph.operators[place].outputs[0])]:
        if reader < len(names) and names[reader] in SHARING:
            yield from _readers_of_results(graph, names, readers, reader)
        else:
            yield reader


def copied(model: Any, schema: Any, source: int) -> tuple[Any, int]:
    """Return an operator that copies a tensor, to be put among the others, and the number of the copy.

    It is the larger of a value and itself, since TFLite has no operator that copies.
    """
    graph = model.graph
    before, tensor = graph.tensors[source], schema.TensorT()
    tensor.shape, tensor.type, tensor.buffer, tensor.name = before.shape, before.type, 0, before.name + b"/copy"
    graph.tensors.append(tensor)
    number = len(graph.tensors) - 1
    operator = schema.OperatorT()
    operator.opcodeIndex = operator_number(model, schema, "MAXIMUM", 1)
    operator.inputs, operator.outputs = [source] * 2, [number]
    operator.builtinOptions = schema.MaximumMinimumOptionsT()
    operator.builtinOptionsType = schema.BuiltinOptions.MaximumMinimumOptions
    return operator, number


def operator_number(model: Any, schema: Any, name: str, version: int) -> int:
    """Return the number of an operator, which is added where the graph has none of its kind."""
    number, codes = getattr(schema.BuiltinOperator, name), model.root.operatorCodes
    for index, code in enumerate(codes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == number:
            code.version = max(code.version, version)
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = number
    code.version = version
    codes.append(code)
    return len(codes) - 1
