"""Reading a pickle without executing it: its instructions are followed on plain values alone.

    containers, numbers, texts                  → themselves
    calls that rebuild a tensor                 → ``StoredTensor``: where its numbers lie, not yet read
    OrderedDict, defaultdict, Counter, dict     → dict
    every other name, call, object              → ``Foreign``: an inert placeholder that knows its name

Nothing is imported by a name that a file says, and nothing is called. What torch's own restricted reader refuses
(dates, paths, arrays, whole optimizers) lies beside the weights in many checkpoints and need not be understood.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from dcd_deploy.models.pickled_values import (
    LARGEST_INDEX,
    Foreign,
    Name,
    PickleError,
    Storage,
    dict_of,
    storage_of,
    value_of_call,
)

MOST_INSTRUCTIONS = 10_000_000  # each makes one small object, so this bounds memory and time


class Stream(Protocol):
    """A file, a mapped file or bytes in memory."""

    def read(self, size: int = ..., /) -> bytes: ...
    def readline(self) -> bytes: ...
    def tell(self) -> int: ...


def read_pickle(stream: Stream) -> Any:
    """Follow one pickle to its end, leave ``stream`` behind it, and return what it holds.

    Raises:
        PickleError: as ``read_with_storages``.
    """
    return read_with_storages(stream)[0]


def read_with_storages(stream: Stream) -> tuple[Any, dict[str, Storage]]:
    """Follow one pickle to its end, and return what it holds and every storage that it points to, by its key.

    Raises:
        PickleError: it is none, or is cut off, or has more instructions than any checkpoint.
    """
    machine = _Machine()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python remarks on texts with odd escapes
            for count, (instruction, argument, _) in enumerate(pickletools.genops(stream)):  # type: ignore[arg-type]  # a stream serves
                if count > MOST_INSTRUCTIONS:
                    break
                if instruction.name == "STOP":
                    return machine.stack.pop(), machine.storages
                machine.follow(instruction.name, argument)
    except PickleError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise PickleError(str(error)) from error
    raise PickleError(f"no end within {MOST_INSTRUCTIONS} instructions")


@dataclass
class _Machine:
    """The stack, the marks and the memo of a pickle."""

    stack: list[Any] = field(default_factory=list)
    marks: list[list[Any]] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    storages: dict[str, Storage] = field(default_factory=dict)

    def follow(self, instruction: str, argument: Any) -> None:
        if instruction in VALUES:
            self.stack.append(argument)
        elif instruction in GETS:
            self.stack.append(self.memo[argument])
        elif instruction in PUTS:
            self._remember(argument)
        elif instruction in TUPLES:
            size = TUPLES[instruction]
            items = tuple(self.stack[len(self.stack) - size :])
            if len(items) != size:
                raise PickleError("a tuple of nothing")
            self.stack[len(self.stack) - size :] = [items]
        elif instruction in STEPS:
            STEPS[instruction](self, argument)
        elif instruction not in IGNORED:
            raise PickleError(f"instruction {instruction}")

    def _remember(self, index: int) -> None:
        if not 0 <= index < LARGEST_INDEX:
            raise PickleError("a memo index beyond any file")
        self.memo[index] = self.stack[-1]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def memoize(self) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def pop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.since_mark()

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Foreign):
            raise PickleError(f"items for a {type(target).__name__}")

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, dict):
            target.update(dict_of(items))
        elif not isinstance(target, Foreign):
            raise PickleError(f"entries for a {type(target).__name__}")

    def build(self) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Foreign):
            self.stack[-1].state = state

    def global_of_stack(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise PickleError("a name that is no text")
        self.push(Name(f"{module}.{name}"))

    def outside(self) -> None:
        """Push what lies outside the pickle."""
        found = storage_of(self.stack.pop())
        if isinstance(found, Storage):
            self.storages[found.key] = found
        self.push(found)

    def call(self, arguments: Any) -> None:
        self.push(value_of_call(self.stack.pop(), arguments))

    def call_with_options(self) -> None:
        self.stack.pop()
        self.call(self.stack.pop())

    def call_since_mark(self) -> None:
        function, *arguments = self.since_mark()
        self.push(value_of_call(function, tuple(arguments)))


IGNORED = ("PROTO", "FRAME", "READONLY_BUFFER")
NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
TEXTS = ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
VALUES = frozenset((*NUMBERS, *TEXTS, *BYTES))
GETS = frozenset(("GET", "BINGET", "LONG_BINGET"))
PUTS = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
STEPS: dict[str, Callable[[_Machine, Any], object]] = {
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),  # noqa: FBT003 - the value itself
    "NEWFALSE": lambda m, _: m.push(False),  # noqa: FBT003
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "EMPTY_SET": lambda m, _: m.push(Foreign("set")),
    "LIST": lambda m, _: m.push(m.since_mark()),
    "TUPLE": lambda m, _: m.push(tuple(m.since_mark())),
    "DICT": lambda m, _: m.push(dict_of(m.since_mark())),
    "FROZENSET": lambda m, _: m.push(Foreign("frozenset", tuple(m.since_mark()))),
    "MARK": lambda m, _: m.mark(),
    "POP": lambda m, _: m.pop(),
    "POP_MARK": lambda m, _: m.since_mark(),
    "DUP": lambda m, _: m.push(m.stack[-1]),
    "MEMOIZE": lambda m, _: m.memoize(),
    "APPEND": lambda m, _: m.extend([m.stack.pop()]),
    "APPENDS": lambda m, _: m.extend(m.since_mark()),
    "ADDITEMS": lambda m, _: m.extend(m.since_mark()),
    "SETITEM": lambda m, _: m.set_items([m.stack.pop(-2), m.stack.pop()]),
    "SETITEMS": lambda m, _: m.set_items(m.since_mark()),
    "BUILD": lambda m, _: m.build(),
    "GLOBAL": lambda m, name: m.push(Name(name.replace(" ", ".", 1))),
    "STACK_GLOBAL": lambda m, _: m.global_of_stack(),
    "REDUCE": lambda m, _: m.call(m.stack.pop()),
    "NEWOBJ": lambda m, _: m.call(m.stack.pop()),
    "NEWOBJ_EX": lambda m, _: m.call_with_options(),
    "OBJ": lambda m, _: m.call_since_mark(),
    "INST": lambda m, name: m.push(value_of_call(Name(name.replace(" ", ".", 1)), tuple(m.since_mark()))),
    "EXT1": lambda m, code: m.push(Name(f"extension {code}")),
    "EXT2": lambda m, code: m.push(Name(f"extension {code}")),
    "EXT4": lambda m, code: m.push(Name(f"extension {code}")),
    "NEXT_BUFFER": lambda m, _: m.push(Foreign("buffer")),
    "BINPERSID": lambda m, _: m.outside(),
}
