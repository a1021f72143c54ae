"""The rows of a data set as they are read: chat JSONL with one conversation a line, or a preference pair.

In: the files of a data set. Out: their lines, some at a time, and from them `Read` rows or `Fault`s. A
preference pair (`chosen`, `rejected`, perhaps `prompt`, each text or messages) is read as the conversation
that ends in the chosen answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import polars as pl

from tracemill.curate.chat_lines import Fault, Found, Lines, read_chat, read_record, records
from tracemill.curate.datasets.opened import Opened
from tracemill.curate.sources import BATCH_ROWS
from tracemill.tracer.messages import Message


@dataclass(frozen=True)
class Read:
    """A row: its conversation, its own `id` (as JSON where it is no text), and what was rejected, if any."""

    found: Found
    own_id: str | None
    rejected: list[Message] | None = None


def chunks(data: Opened) -> Iterator[Lines]:
    """The lines of all files, some at a time, in order; a row without an id is called `FILE:LINE`."""
    for _, file in data.files:
        for lines in read_chat([file], file.stem, BATCH_ROWS):
            yield replace(lines, pin=None)


def read_rows(lines: Lines) -> Iterator[tuple[int, Read | Fault]]:
    """What stands in each line, by its number."""
    for number, record in records(lines):
        if isinstance(record, Fault):
            yield number, record
        else:
            yield number, read_row(record, f"{lines.label}:{number}", f"{lines.place}, line {number}")


def read_row(record: Mapping[str, Any], name: str, place: str) -> Read | Fault:
    """The row in a record, called `name` where it has no id of its own."""
    rejected = None
    if is_pair(record):
        other = read_record(answered(record, "rejected"), name, None, place)
        if isinstance(other, Fault):
            return replace(other, evidence=f"{other.evidence}, in what is rejected")
        rejected, record = other.talk.messages, answered(record, "chosen")
    found = read_record(record, name, None, place)
    return found if isinstance(found, Fault) else Read(found, _own_id(record), rejected)


def is_pair(record: Mapping[str, Any]) -> bool:
    """Whether a record is a preference pair."""
    return "messages" not in record and "chosen" in record and "rejected" in record


def answered(record: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The conversation of a pair that ends in its `chosen` or `rejected` answer (`key`)."""
    before, after = record.get("prompt"), record[key]
    messages = [*_messages(before, "user"), *_messages(after, "assistant")] if after else None
    return {**record, "messages": messages}


def _messages(value: Any, role: str) -> list[Any]:
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    return cast("list[Any]", value) if isinstance(value, list) else []


def _own_id(record: Mapping[str, Any]) -> str | None:
    value = record.get("id")
    return value if isinstance(value, str) or value is None else json.dumps(value)


def these(data: Opened, rows: pl.DataFrame) -> Iterator[tuple[Lines, list[int]]]:
    """The lines of some rows (columns `file`, `line`), and the position of each in `rows`."""
    known = {
        file: dict(zip(part["line"], part["_at"], strict=True))
        for (file,), part in rows.select("file", "line").with_row_index("_at").group_by("file")
    }
    for _, file in data.files:
        wanted: dict[int, int] = known.get(file.name, {})
        if not wanted:
            continue
        for lines in read_chat([file], file.stem, BATCH_ROWS):
            kept = [(number, line) for number, line in lines.lines if number in wanted]
            if kept:
                yield replace(lines, pin=None, lines=kept, long=[]), [wanted[number] for number, _ in kept]
