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

MOST_INSTRUCTIONS = 10_000_000  # each makes one small object, so this bounds memory and time
MOST_DIMENSIONS = 64
LARGEST_INDEX = 1 << 48  # of shapes, strides and offsets
LARGEST_KEY = 1 << 60  # larger whole numbers can be chosen to collide in a dict


class PickleError(ValueError):
    """The instructions are no pickle, or one that no writer of checkpoints makes."""


class Stream(Protocol):
    """A file, a mapped file or bytes in memory."""

    def read(self, size: int = ..., /) -> bytes: ...
    def readline(self) -> bytes: ...
    def tell(self) -> int: ...


@dataclass(frozen=True, eq=False)
class Name:
    """What an instruction wanted imported: a module and a name in it, with a dot between."""

    text: str


@dataclass(eq=False)
class Foreign:
    """An object that is left alone: what it is called, what it would have been called with, and its state."""

    name: str
    args: tuple[Any, ...] = ()
    state: Any = None


@dataclass(frozen=True, eq=False)
class Storage:
    """A run of numbers that lies outside the pickle; ``kind`` names its type, ``start`` is in elements."""

    key: str
    kind: str
    numel: int
    start: int = 0


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor whose numbers are not read yet; ``dtype`` is named where the storage does not say it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str | None = None


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
            target.update(_pairs(items))
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
        found = _storage(self.stack.pop())
        if isinstance(found, Storage):
            self.storages[found.key] = found
        self.push(found)

    def call(self, arguments: Any) -> None:
        self.push(_called(self.stack.pop(), arguments))

    def call_with_options(self) -> None:
        self.stack.pop()
        self.call(self.stack.pop())

    def call_since_mark(self) -> None:
        function, *arguments = self.since_mark()
        self.push(_called(function, tuple(arguments)))


def _hashable(key: Any) -> Any:
    """Return a key that is quick to hash: deeply nested tuples, and numbers made to collide, become placeholders."""
    if key is None or isinstance(key, str | bytes | bool):
        return key
    if isinstance(key, int) and abs(key) < LARGEST_KEY:
        return key
    return Foreign(type(key).__name__)


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return {_hashable(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


def _called(function: Any, arguments: Any) -> Any:
    """Return what a call stands for; only tensors and dicts are rebuilt, anything else is a placeholder."""
    if not isinstance(arguments, tuple):
        raise PickleError("arguments that are no tuple")
    if not isinstance(function, Name):
        return Foreign(getattr(function, "name", type(function).__name__), arguments)
    if function.text in MAPPINGS:
        return _mapping(arguments)
    if function.text in REBUILDERS:
        return REBUILDERS[function.text](*arguments)
    if function.text in CONSTRUCTORS and arguments and isinstance(arguments[0], Name):
        return Foreign(arguments[0].text, arguments[1:])
    return Foreign(function.text, arguments)


def _mapping(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """Return the dict of ``OrderedDict()``, ``OrderedDict([[key, value], …])``, ``Counter({…})`` or alike."""
    content = next((each for each in arguments if isinstance(each, dict | list)), None)
    if isinstance(content, dict):
        return content
    found = _pairs([part for pair in content or () for part in _pair(pair)])
    if content:
        content.clear()  # or a list that many calls share would be copied for each
    return found


def _pair(pair: Any) -> tuple[Any, Any]:
    key, value = pair
    return key, value


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> StoredTensor:
    return _checked_tensor(storage, offset, shape, stride, None)


def _typed_tensor(
    storage: Any, offset: Any, shape: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Any, *_: Any
) -> StoredTensor:
    return _checked_tensor(storage, offset, shape, stride, dtype)


def _checked_tensor(storage: Any, offset: Any, shape: Any, stride: Any, dtype: Any) -> StoredTensor:
    numbers = (offset, *_numbers(shape), *_numbers(stride))
    fits = all(type(number) is int and 0 <= number < LARGEST_INDEX for number in numbers)
    if not isinstance(storage, Storage) or not fits or len(shape) != len(stride):
        raise PickleError("a tensor with impossible sizes")
    return StoredTensor(storage, offset, tuple(shape), tuple(stride), dtype.text if isinstance(dtype, Name) else None)


def _numbers(sizes: Any) -> tuple[Any, ...]:
    if not isinstance(sizes, tuple | list) or len(sizes) > MOST_DIMENSIONS:
        raise PickleError("a tensor without sizes")
    return tuple(sizes)


def _size(sizes: Any = (), *_: Any) -> tuple[Any, ...]:
    return _numbers(sizes)


def _inner(tensor: Any, *_: Any) -> Any:
    """A parameter, or a tensor that came from another device: the tensor itself."""
    return tensor


def _of_subclass(function: Any, _type: Any, arguments: Any, *_: Any) -> Any:
    return _called(function, arguments)


def _storage(identity: Any) -> Storage | Name:
    """Return the storage of ``("storage", type, key, place, numel[, (view's key, offset, numel)])``.

    Old files also keep the classes of whole networks outside: ``("module", class, file, source)``.
    """
    if isinstance(identity, tuple) and identity[0] == "module" and isinstance(identity[1], Name):
        return identity[1]
    kind, storage_type, key, _, numel, *rest = identity
    if kind != "storage" or not isinstance(storage_type, Name) or not isinstance(key, str):
        raise PickleError("something outside the pickle that is no storage")
    start, total = 0, numel
    if rest and rest[0] is not None:
        _, start, numel = rest[0]
    if not all(type(number) is int and 0 <= number < LARGEST_INDEX for number in (numel, start)):
        raise PickleError(f"a storage of {total} numbers")
    return Storage(key, storage_type.text, numel, start)


MAPPINGS = frozenset(
    f"{module}.{name}"
    for module, names in {
        "collections": ("OrderedDict", "defaultdict", "Counter"),
        "builtins": ("dict",),
        "__builtin__": ("dict",),
    }.items()
    for name in names
)
CONSTRUCTORS = ("copy_reg._reconstructor", "copyreg._reconstructor", "copy_reg.__newobj__", "copyreg.__newobj__")
REBUILDERS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_parameter": _inner,
    "torch._utils._rebuild_parameter_with_state": _inner,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _inner,
    "torch.nn.parameter.Parameter": _inner,
    "torch.nn.parameter.Buffer": _inner,
    "torch._tensor._rebuild_from_type": _of_subclass,
    "torch._tensor._rebuild_from_type_v2": _of_subclass,
    "torch.Size": _size,
}
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
    "DICT": lambda m, _: m.push(_pairs(m.since_mark())),
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
    "INST": lambda m, name: m.push(_called(Name(name.replace(" ", ".", 1)), tuple(m.since_mark()))),
    "EXT1": lambda m, code: m.push(Name(f"extension {code}")),
    "EXT2": lambda m, code: m.push(Name(f"extension {code}")),
    "EXT4": lambda m, code: m.push(Name(f"extension {code}")),
    "NEXT_BUFFER": lambda m, _: m.push(Foreign("buffer")),
    "BINPERSID": lambda m, _: m.outside(),
}
