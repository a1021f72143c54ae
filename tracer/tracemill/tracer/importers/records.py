"""Reads the records of a JSON file, whatever way they are laid out in it.

In: a JSON list, JSON lines or a single JSON value, plain or gzipped. Out: `Record`s with their place in the
file, so that whoever finds one wanting can say where. TracemillError where it is cut short or is no JSON.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tracemill.tracer.errors import TracemillError


@dataclass(frozen=True)
class Record:
    """One value of a file; `place` says where it stands, in words."""

    place: str
    value: Any


def read_records(path: Path) -> list[Record]:
    """All records of a file: the items of a list, the lines of JSON lines, or the one value there is."""
    text = _read_text(path)
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise TracemillError(f"Cannot import {path}: it holds no records.")
    if len(lines) > 1 and _is_json(lines[0][1]):
        return [Record(f"line {number}", _parse(path, line, number)) for number, line in lines]
    whole = _parse(path, text, 1)
    if isinstance(whole, list) and not _is_conversation(cast("list[Any]", whole)):
        return [Record(f"record {n}", item) for n, item in enumerate(cast("list[Any]", whole), 1)]
    return [Record("record 1", whole)]


def field(value: Any, path: str) -> Any:
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


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
        return data.decode("utf-8-sig")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TracemillError(
            f"Cannot import {path}: its gzip data is broken or cut short ({error}); copy it again."
        ) from error
    except UnicodeDecodeError as error:
        raise TracemillError(
            f"Cannot import {path}: byte {error.start} is not UTF-8; convert the file to UTF-8."
        ) from error
    except OSError as error:
        raise TracemillError(f"Cannot import {path}: {error.strerror}; check the path.") from error


def _parse(path: Path, text: str, first_line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {first_line + error.lineno - 1}, column {error.colno}"
        raise TracemillError(
            f"Cannot import {path}: {place} is not JSON ({error.msg}); mend it, nothing was imported."
        ) from error
    except RecursionError as error:
        raise TracemillError(
            f"Cannot import {path}: line {first_line} is nested too deeply; remove it, nothing was imported."
        ) from error


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _is_conversation(items: list[Any]) -> bool:
    return bool(items) and all(isinstance(item, dict) and "role" in item for item in items)
