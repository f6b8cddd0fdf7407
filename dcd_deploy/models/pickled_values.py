"""What a pickle's calls stand for: tensors not yet read, dicts, and placeholders. Nothing is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MOST_DIMENSIONS = 64
LARGEST_INDEX = 1 << 48  # of shapes, strides and offsets
LARGEST_KEY = 1 << 60  # larger whole numbers can be chosen to collide in a dict


class PickleError(ValueError):
    """The instructions are no pickle, or one that no writer of checkpoints makes."""


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


def _hashable(key: Any) -> Any:
    """Return a key that is quick to hash: deeply nested tuples, and numbers made to collide, become placeholders."""
    if key is None or isinstance(key, str | bytes | bool):
        return key
    if isinstance(key, int) and abs(key) < LARGEST_KEY:
        return key
    return Foreign(type(key).__name__)


def dict_of(items: list[Any]) -> dict[Any, Any]:
    """Return the dict of alternating keys and values."""
    return {_hashable(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


def value_of_call(function: Any, arguments: Any) -> Any:
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
    found = dict_of([part for pair in content or () for part in _pair(pair)])
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
    return value_of_call(function, arguments)


def storage_of(identity: Any) -> Storage | Name:
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
