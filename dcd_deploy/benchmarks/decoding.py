"""Plain JSON values → dataclasses, by their type hints; what does not fit is refused, with its place."""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
SHOWN = 60  # characters of a wrong value that a message quotes


class MisfitError(ValueError):
    """A value is not what the type at its place says: "/trials/0/threads: expected a whole number, found 'two'"."""

    def __init__(self, place: str, expected: str, found: object) -> None:
        text = found if isinstance(found, Words) else Words(_quoted(found))
        super().__init__(f"{place or '/'}: expected {expected}, found {text}")


class Words(str):
    """What was found, said in words rather than quoted."""

    __slots__ = ()


def decode(kind: type[T], value: object, place: str = "") -> T:
    """Return ``value`` as the dataclass ``kind``; ``place`` is its JSON pointer.

    Raises:
        MisfitError: a field is missing, unknown, of another type, or a number that is not finite.
    """
    if not isinstance(value, dict):
        raise MisfitError(place, f"an object with the fields of a {kind.__name__}", value)
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # a dataclass, as the callers have it
    if missing := [name for name in names if name not in value]:
        raise MisfitError(place, f"the field '{missing[0]}'", Words("none"))
    if unknown := [name for name in value if name not in names]:
        raise MisfitError(place, "no other fields than " + ", ".join(names), unknown[0])
    return kind(**{name: _decode(hints[name], value[name], f"{place}/{name}") for name in names})


def _decode(hint: Any, value: object, place: str) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, Union):  # X | None is the only union there is
        (hint,) = (kind for kind in inner if kind is not types.NoneType)
        return None if value is None else _decode(hint, value, place)
    if origin is tuple:
        if not isinstance(value, list):
            raise MisfitError(place, "a list", value)
        return tuple(_decode(inner[0], item, f"{place}/{i}") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise MisfitError(place, "an object", value)
        return {key: _decode(inner[1], item, f"{place}/{_pointer(key)}") for key, item in value.items()}
    return SCALARS[hint](value, place) if hint in SCALARS else decode(hint, value, place)


def _text(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise MisfitError(place, "a text", value)
    return value


def _whole(value: object, place: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise MisfitError(place, "a whole number", value)
    return value


def _number(value: object, place: str) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise MisfitError(place, "a finite number", value)
        return float(value)
    except OverflowError:
        raise MisfitError(place, "a finite number", Words("one that is too large")) from None


def _truth(value: object, place: str) -> bool:
    if not isinstance(value, bool):
        raise MisfitError(place, "true or false", value)
    return value


SCALARS: dict[type, Callable[[object, str], Any]] = {str: _text, int: _whole, float: _number, bool: _truth}


def _pointer(key: str) -> str:
    return key[:SHOWN].replace("~", "~0").replace("/", "~1")


def _quoted(value: object) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
