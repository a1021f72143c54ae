"""Copies that tell whether a value is still what it was.

In: a value of an agent: the fields of a message's parts, the schemas of its tools. Out: a frozen copy, equal
to exactly the values of the same types and content. Agents change such objects in place, so what was read of
one may be used again only as long as it equals its copy. Comparing takes a fraction of a microsecond: texts
are not copied, and one that is still the same object is not looked into.

The order of the fields of a JSON object is not content.
"""

from __future__ import annotations

from dataclasses import is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from pydantic import BaseModel

_IMMUTABLE = frozenset({str, bytes, type(None), timedelta, UUID})
_BY_TEXT = frozenset({bool, int, float, Decimal, datetime, date, time})
"""Types some of whose values are equal to Python and written differently: 1, 1.0 and True."""
_AS_THEY_ARE = _IMMUTABLE | {datetime}
_WITHOUT_TEXT = _AS_THEY_ARE - {str, bytes}


class CannotFreezeError(TypeError):
    """Nobody can tell whether an object of this kind has changed."""


class _Frozen:
    """Equal to what has this type and is written alike."""

    __slots__ = ("content", "kind")
    __hash__ = None  # pyright: ignore[reportAssignmentType] (it is compared with values that change)

    def __init__(self, kind: type, content: object) -> None:
        self.kind = kind
        self.content = content

    def __eq__(self, other: object) -> bool:
        alike = other is self.content
        return alike or (type(other) is self.kind and repr(other) == repr(self.content))


class _FrozenObject(_Frozen):
    """Equal to an object of this type whose fields are the same."""

    __slots__ = ()
    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __eq__(self, other: object) -> bool:
        return type(other) is self.kind and _fields(other) == self.content


class _Never:
    """Equal to nothing."""

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __eq__(self, other: object) -> bool:
        return False


NEVER = _Never()
"""The copy of what nobody can tell a change of."""


def freeze(value: Any) -> Any:
    """A copy to compare `value` with later, by `same`. CannotFreezeError where that would prove nothing."""
    kind = type(value)
    if kind in _IMMUTABLE:
        return value
    if kind in _BY_TEXT:
        return _Frozen(kind, value)
    if kind is dict:
        return {name: freeze(item) for name, item in value.items()}
    if kind in (list, tuple):
        return kind(map(freeze, value))
    return _freeze_object(value)


def freeze_fields(fields: list[Any]) -> list[Any]:
    """The values of the fields of objects, frozen; a time stands for a moment, however it is written."""
    if _AS_THEY_ARE.issuperset(map(type, fields)):
        return fields
    return [item if type(item) in _AS_THEY_ARE else freeze(item) for item in fields]


def same(value: object, frozen: object) -> bool:
    """Whether `value` is still what `frozen` was made from."""
    try:
        return bool(value == frozen)
    except Exception:  # something was put there since that cannot be compared
        return False


def size(frozen: Any) -> int:
    """Characters and bytes that a copy keeps alive."""
    kind = type(frozen)
    if kind is str or kind is bytes:
        return len(frozen)
    if kind is dict or kind is list or kind is tuple:
        total = 0
        for item in frozen.values() if kind is dict else frozen:
            # Most fields are texts or hold nothing.
            if type(item) is str:
                total += len(item)
            elif type(item) not in _WITHOUT_TEXT:
                total += size(item)
        return total
    return size(frozen.content) if isinstance(frozen, _Frozen) else 0


def _freeze_object(value: Any) -> Any:
    kind: type = type(value)
    if isinstance(value, (Enum, PurePath)):
        return value
    if kind in (set, frozenset) and all(type(item) is str for item in value):
        return frozenset(value)
    if (is_dataclass(value) or isinstance(value, BaseModel)) and not _has_slots(kind):
        return _FrozenObject(kind, freeze_fields(_fields(value)))
    raise CannotFreezeError(kind.__qualname__)


def _fields(value: Any) -> list[Any]:
    if not isinstance(value, BaseModel):
        return [*vars(value).values()]
    return [*vars(value).values(), value.__pydantic_extra__, value.__pydantic_private__]


def _has_slots(kind: type) -> bool:
    # What stands in a slot is not in `vars`.
    return any(vars(base).get("__slots__") for base in kind.__mro__ if base is not BaseModel)
