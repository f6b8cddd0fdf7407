"""Reading an ExecuTorch program (.pte) without its packages: what goes in and out, what it runs, and its texts.

    file      flatbuffer of the program, "ET12" | "eh00", sizes | padding | segments, such as delegates' weights
    program   methods: "forward" computes; one that returns a constant text carries our description

Every offset is checked against the file, which is untrusted: the runtime itself crashes on some damaged ones. What a
delegate's segment holds is its own; a file of ours has a hash that says whether it is as it was written.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dcd_deploy.artifacts import LARGEST_SIZE, METADATA_KEY, MOST_AXES, NCHW, TensorSpec
from dcd_deploy.card_json import read_card
from dcd_deploy.runtimes.flatbuffer import Table, check_mark, damaged

IDENTIFIER, HEADER, HEADER_AT, HEADER_SIZE = b"ET12", b"eh00", 8, 32
FORWARD, HASH_KEY = "forward", "dcd_deploy_sha256"
UNHASHED = "0" * 64  # what stands in the hash's place while it is computed
PROGRAM_PLANS, PROGRAM_SEGMENTS, PROGRAM_INLINE = 1, 4, 3
PLAN_NAME, PLAN_VALUES, PLAN_INPUTS, PLAN_OUTPUTS, PLAN_CHAINS, PLAN_OPERATORS, PLAN_DELEGATES = 0, 2, 3, 4, 5, 6, 7
CHAIN_INSTRUCTIONS, OPERATOR_NAME, OPERATOR_OVERLOAD = 2, 0, 1
DELEGATE_ID, DELEGATE_DATA, DATA_IS_SEGMENT, DATA_INDEX = 0, 1, 0, 1
UNION_KIND, UNION_VALUE = 0, 1
TENSOR, STRING = 5, 6  # kinds of a method's values
KERNEL_CALL, DELEGATE_CALL = 1, 2  # kinds of instructions
TENSOR_TYPE, TENSOR_SIZES = 0, 2
TYPES = {3: "int32", 4: "int64", 5: "float16", 6: "float32", 7: "float64", 0: "uint8", 1: "int8", 11: "bool"}


@dataclass(frozen=True)
class Delegate:
    """A part that a backend runs, and where in the file it lies."""

    backend: str
    start: int
    size: int


@dataclass(frozen=True)
class PteProgram:
    """What a program says about itself.

    ``outside`` has the operators that run outside the delegates, one for each call; ``intact`` says of a file of ours
    whether it is as it was written, and is None of another.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    delegates: tuple[Delegate, ...]
    delegate_calls: int
    outside: tuple[str, ...]
    texts: dict[str, str]
    intact: bool | None


def read_program(content: bytes, where: str | Path) -> PteProgram:
    """Return what a program says about itself.

    Raises:
        ModelFileError: this is no ExecuTorch program, or one that is damaged or has no method "forward".
    """
    expected = f"an ExecuTorch program at '{where}'"
    check_mark(content, IDENTIFIER, expected)
    try:
        return _Reader(content).program()
    except (struct.error, IndexError, ValueError) as error:
        raise damaged(expected, error) from error


def with_hash(content: bytes) -> bytes:
    """Return a file with the hash of all the rest in the place that was kept for it."""
    digest = hashlib.sha256(content).hexdigest()
    return content.replace(UNHASHED.encode(), digest.encode(), 1)


class _Reader:
    """The tables of one file."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.root = Table.root(content)
        self.segments_at = self._checked_sizes()

    def program(self) -> PteProgram:
        plans = {plan.text(PLAN_NAME): plan for plan in self.root.tables(PROGRAM_PLANS)}
        if FORWARD not in plans:
            raise ValueError(f"no method '{FORWARD}'")
        plan = plans[FORWARD]
        places = {name: place for name, other in plans.items() if (place := _constant_text(other)) is not None}
        texts = {name: self.content[start:end].decode() for name, (start, end) in places.items()}
        calls = list(_calls(plan))
        operators = [_operator(each) for each in plan.tables(PLAN_OPERATORS)]
        inputs, outputs = (_tensors(plan, side) for side in (PLAN_INPUTS, PLAN_OUTPUTS))
        return PteProgram(
            *_named(inputs, outputs, texts.get(METADATA_KEY)),
            delegates=tuple(map(self._delegate, plan.tables(PLAN_DELEGATES))),
            delegate_calls=sum(kind == DELEGATE_CALL for kind, _ in calls),
            outside=tuple(operators[_index(index, operators)] for kind, index in calls if kind == KERNEL_CALL),
            texts=texts,
            intact=self._intact(*places[HASH_KEY]) if HASH_KEY in places else None,
        )

    def _checked_sizes(self) -> int:
        """Return where the segments begin, after checking that the file has all of them."""
        magic, length = struct.unpack_from("<4sI", self.content, HEADER_AT)
        if magic != HEADER or length < HEADER_SIZE:
            raise ValueError("no header that says its sizes")
        program, start, size = struct.unpack_from("<QQQ", self.content, HEADER_AT + 8)
        if program > len(self.content) or start + size > len(self.content):
            raise ValueError(f"{max(program, start + size)} bytes expected, {len(self.content)} found")
        return int(start)

    def _delegate(self, table: Table) -> Delegate:
        reference = _needed(table.table(DELEGATE_DATA))
        index = reference.number(DATA_INDEX)
        if reference.number(DATA_IS_SEGMENT, "b"):
            segments = self.root.tables(PROGRAM_SEGMENTS)
            segment = segments[_index(index, segments)]
            start, size = self.segments_at + segment.number(0, "Q"), segment.number(1, "Q")
        else:
            inline = self.root.tables(PROGRAM_INLINE)
            start, end = inline[_index(index, inline)].span(0)
            size = end - start
        if start + size > len(self.content):
            raise ValueError(f"a delegate of {size} bytes at {start} in a file of {len(self.content)}")
        return Delegate(table.text(DELEGATE_ID), start, size)

    def _intact(self, start: int, end: int) -> bool:
        blank = self.content[:start] + UNHASHED.encode() + self.content[end:]
        return hashlib.sha256(blank).hexdigest().encode() == self.content[start:end]


def _union(table: Table) -> tuple[int, Table]:
    """Return the kind of a union, and its value."""
    return table.number(UNION_KIND, "B"), _needed(table.table(UNION_VALUE))


def _needed(table: Table | None) -> Table:
    if table is None:
        raise ValueError("a part without its content")
    return table


def _constant_text(plan: Table) -> tuple[int, int] | None:
    """Return where the text lies that a method returns without computing anything."""
    outputs, values = plan.numbers(PLAN_OUTPUTS), plan.tables(PLAN_VALUES)
    if len(outputs) != 1 or any(True for _ in _calls(plan)):
        return None
    kind, value = _union(values[_index(outputs[0], values)])
    return value.span(0) if kind == STRING else None


def _calls(plan: Table) -> Iterator[tuple[int, int]]:
    """Yield the kind and the operator or delegate of each instruction."""
    for chain in plan.tables(PLAN_CHAINS):
        for instruction in chain.tables(CHAIN_INSTRUCTIONS):
            kind, call = _union(instruction)
            yield kind, call.number(0, "i")


def _operator(table: Table) -> str:
    overload = table.text(OPERATOR_OVERLOAD)
    return table.text(OPERATOR_NAME) + (f".{overload}" if overload else "")


def _tensors(plan: Table, side: int) -> tuple[TensorSpec, ...]:
    values, found = plan.tables(PLAN_VALUES), []
    for number, index in enumerate(plan.numbers(side)):
        kind, value = _union(values[_index(index, values)])
        if kind != TENSOR:
            raise ValueError("an input or output that is no tensor")
        shape = value.numbers(TENSOR_SIZES)
        if len(shape) > MOST_AXES or any(not 0 < size <= LARGEST_SIZE for size in shape):
            raise ValueError(f"a tensor of shape {shape[:MOST_AXES]}")
        dtype = TYPES.get(value.number(TENSOR_TYPE, "b"), "unknown")
        name = f"{'input' if side == PLAN_INPUTS else 'output'}_{number}"
        found.append(TensorSpec(name, shape, dtype, NCHW if len(shape) == 4 else None))
    if not found:
        raise ValueError("no input or no output")
    return tuple(found)


def _index(index: int, among: Sequence[object]) -> int:
    if not 0 <= index < len(among):
        raise ValueError(f"number {index} of {len(among)}")
    return index


def _named(
    inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], text: str | None
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Return the tensors under the names that the file's description gives them: a program has none."""
    if text is None:
        return inputs, outputs
    card = read_card(text)
    sides = []
    for found, described in ((inputs, card.inputs), (outputs, card.outputs)):
        same = len(found) == len(described)
        names = [each.name for each in (described if same else found)]
        sides.append(tuple(TensorSpec(n, t.shape, t.dtype, t.layout) for n, t in zip(names, found)))
    return sides[0], sides[1]
