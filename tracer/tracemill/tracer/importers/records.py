"""The files an import reads, and the records in them.

In: a path. Out: a `Source` that gives its `Record`s with their places, so that whoever finds one wanting can
say where. TracemillError where it cannot be read, is cut short or is no JSON.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from tracemill.tracer.errors import TracemillError
from tracemill.tracer.importers import json_stream

T = TypeVar("T")
Chosen = TypeVar("Chosen")


@dataclass(frozen=True)
class Record:
    """One value of a file; `place` says where it stands, in words."""

    path: Path
    place: str
    value: Any

    def refusal(self, why: str) -> TracemillError:
        """The error that says why this record, and so its file, cannot be imported."""
        return TracemillError(f"Cannot import {self.path}: in {self.place}, {why}; nothing was imported.")


@dataclass(frozen=True)
class Source:
    """One file to import."""

    path: Path
    left_out: Counter[str] = field(default_factory=Counter[str])
    """What of the file itself has no place in any session, counted by name."""

    @property
    def modified(self) -> float:
        """When the file was last written, in Unix seconds."""
        return self.path.stat().st_mtime

    def records(self) -> Iterator[Record]:
        """All records, one at a time: the items of a list, the lines of JSON lines, or the one value."""
        found = False
        with readable(self.path), json_stream.open_bytes(self.path) as file:
            for place, value in json_stream.read_values(file):
                found = True
                yield Record(self.path, place, value)
        if not found:
            raise TracemillError(f"Cannot import {self.path}: it holds no records.")


def made_of_each(
    make: Callable[[Record, Source, Chosen, Counter[str]], T], sources: Sequence[Source], options: Chosen
) -> Iterator[T]:
    """What `make` makes of each record of each source; its counter tells apart records that are the same."""
    copies: Counter[str] = Counter()
    for source in sources:
        for record in source.records():
            yield make(record, source, options, copies)


def fault(error: Exception) -> str:
    """Why a value is not as its format has it, without the value itself: it may be a secret."""
    if isinstance(error, KeyError):
        return f"no field {error}"
    # Python quotes what is no number.
    said = str(error)
    return re.sub(r"(['\"]).*\1", "a value", said, flags=re.DOTALL) if isinstance(error, ValueError) else said


@contextmanager
def readable(path: Path) -> Generator[None]:
    """Turns what goes wrong while a file is read into a TracemillError that names the file."""
    try:
        yield
    except json_stream.BROKEN_GZIP as error:
        raise TracemillError(
            f"Cannot import {path}: its gzip data is broken or cut short ({error}); copy it again."
        ) from error
    except ValueError as error:
        raise TracemillError(f"Cannot import {path}: {error}; nothing was imported.") from error
    except OSError as error:
        raise TracemillError(f"Cannot import {path}: {error.strerror}; check the path.") from error


def field_at(value: Any, path: str) -> Any:
    """What a dotted path such as `trajectory.messages` leads to in nested objects, or None."""
    for name in path.split("."):
        if not isinstance(value, dict):
            return None
        value = cast("dict[str, Any]", value).get(name)
    return value


def scalars(value: Any) -> Iterator[tuple[str, str | int | float | bool]]:
    """The short plain fields of a record: what tells it from the others."""
    if isinstance(value, dict):
        for name, item in cast("dict[str, Any]", value).items():
            if isinstance(item, (bool, int, float)) or (isinstance(item, str) and len(item) <= 200):
                yield name, item
